"""`mail.delivery.security`: what a level of TLS asks of a connection."""

import ssl
from typing import get_args

import pytest

from core.smtp.target import Target
from mail.delivery.choice import Level
from mail.delivery.resolve import Resolution
from mail.delivery.security import level_settings
from protocol.smtp.client_settings import TlsUse
from tests.support.level import LevelSecurity

USE = {
    "off": TlsUse.NEVER,
    "preferred": TlsUse.OFFERED,
    "required": TlsUse.REQUIRED,
    "preferred-verify": TlsUse.OFFERED,
    "required-verify": TlsUse.REQUIRED,
}


@pytest.mark.parametrize("level", get_args(Level))
async def test_every_level_is_known_and_kept_apart_from_the_others(level: Level) -> None:
    plan = await LevelSecurity(lambda _: level).plan("x.test", Resolution((), 60))
    settings = plan.settings(Target("mx.x.test", "127.0.0.1"))
    assert settings.use is USE[level]
    others = {level_settings(other).identity for other in get_args(Level) if other != level}
    assert settings.identity not in others


def test_verified_tls_checks_certificate_and_name() -> None:
    context = level_settings("required-verify").context
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
