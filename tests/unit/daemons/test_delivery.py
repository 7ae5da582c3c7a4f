"""Delivery's settings: what a row of [[destination]] says is what its connections get."""

import ssl
from typing import get_args

import pytest

from daemons.delivery import DestinationTable
from mail.config import BounceProfileSection, DestinationSection
from protocol.smtp.client_settings import TlsUse

USE = {
    "off": TlsUse.NEVER,
    "preferred": TlsUse.OFFERED,
    "required": TlsUse.REQUIRED,
    "required-verify": TlsUse.REQUIRED,
}


def table(*rows: DestinationSection) -> DestinationTable:
    return DestinationTable(rows, [BounceProfileSection(name="Short", max_retries=3)])


@pytest.mark.parametrize("mode", get_args(DestinationSection.model_fields["tls"].annotation))
def test_every_way_of_tls_that_may_be_configured_is_known(mode: str) -> None:
    found = table(DestinationSection.model_validate({"domain": "X.test", "tls": mode})).tls("x.test")
    assert found.use is USE[mode]


def test_verified_tls_checks_certificate_and_name() -> None:
    context = table(DestinationSection(domain="x.test", tls="required-verify")).tls("x.test").context
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_domain_in_no_row_has_what_default_says() -> None:
    one = table(DestinationSection(max_connections=7, ip_preference="require-v6", bounce_profile="short"))
    assert one.limits("other.test").connections == 7
    assert one.limits("other.test").profile.max_retries == 3
    assert one.family("other.test") == "require-v6"


def test_the_quarantine_channel_never_gives_up_and_never_bounces() -> None:
    profile = table(DestinationSection(max_connections=7)).limits("the.cpq.host").profile
    assert not profile.spent(10_000_000)
    assert not profile.hard_bounce
