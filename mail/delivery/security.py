"""What protects a connection to a mail host: the shapes that the SMTP courier asks, and what a level asks of TLS.

The courier asks `Security.plan` once for each connection that it wants, then `SecurityPlan.settings` for each address
it tries, and says with `concluded` what came of it. `mail/delivery/tls/` is what answers. Nothing is logged here.
"""

import ssl
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

from core.smtp.client import ClientConnection
from core.smtp.client_settings import NO_TLS, TlsSettings
from core.smtp.target import Target
from mail.delivery.choice import Level
from mail.delivery.resolve import Resolution
from protocol.errors import MailError, TemporaryFailure
from protocol.reply import Reply
from protocol.smtp.client_settings import TlsUse

Wish = Literal["", "yes", "no"]
"""What a message asks for (RFC 8689): `yes` REQUIRETLS, `no` the header `TLS-Required: No`, '' nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is configured for a destination."""

    level: Level = "preferred"
    dane: bool = True
    mta_sts: bool = True


class HostUnusable(TemporaryFailure):
    """A policy forbids to send to this host now; `text` says which and why, free of unescaped foreign text."""

    def __init__(self, text: str, enhanced: str = "4.7.5", *, kind: str = "validation-failure") -> None:
        super().__init__(Reply(451, enhanced, text), text)
        self.text = text
        self.kind = kind
        """Result type of RFC 8460 4.3."""


class SecurityPlan(Protocol):
    """What protects the connections to one domain at one moment."""

    def settings(self, target: Target) -> TlsSettings:
        """Say how to connect to an address. Raises `HostUnusable` where that must not be done."""
        ...

    def concluded(self, target: Target, connection: ClientConnection | None, failure: MailError | None) -> str:
        """Take note of what came of an attempt: a connection, or why there is none; give what the log is to say."""
        ...


class Security(Protocol):
    """Makes plans."""

    async def plan(self, domain: str, resolution: Resolution, wish: Wish = "") -> SecurityPlan:
        """Find out what protects mail for a recipient domain. Raises `TemporaryFailure` if nobody can tell."""
        ...


@cache
def level_settings(level: Level) -> TlsSettings:
    """Give how TLS is used at a level; `required-verify` checks against the system's authorities."""
    if level == "off":
        return NO_TLS
    if level == "required-verify":
        return TlsSettings(TlsUse.REQUIRED, ssl.create_default_context(), identity=level)
    return TlsSettings(TlsUse.OFFERED if level.startswith("preferred") else TlsUse.REQUIRED, identity=level)
