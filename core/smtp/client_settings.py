"""How to connect to another mail host: time-outs, source address, TLS.

Made by the couriers from their configuration, used by `core/smtp/client.py`. Frozen, shared by many connections.
"""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.failure import Stage

FOREVER = float("inf")

Judge = Callable[[Sequence[bytes]], None]
"""Takes the peer's certificates in DER form as they were shown, its own first; raises `TlsError` to refuse."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the peer may take, in seconds; the longer ones are the minimum of RFC 5321 4.5.3.2."""

    connect_s: float = 5.0
    tls_s: float = 30.0
    greeting_s: float = 300.0
    hello_s: float = 300.0
    envelope_s: float = 300.0
    data_s: float = 120.0
    content_s: float = 180.0
    """For each block of content."""
    final_s: float = 600.0
    command_s: float = 300.0
    reset_s: float = 20.0
    quit_s: float = 5.0

    def by_stage(self) -> dict[Stage, float]:
        """Give the limit of each stage."""
        return {
            Stage.CONNECT: self.connect_s,
            Stage.TLS: self.tls_s,
            Stage.GREETING: self.greeting_s,
            Stage.EHLO: self.hello_s,
            Stage.STARTTLS: self.hello_s,
            Stage.IDLE: FOREVER,
            Stage.MAIL: self.envelope_s,
            Stage.RCPT: self.envelope_s,
            Stage.DATA: self.data_s,
            Stage.CONTENT: self.content_s,
            Stage.CHUNK: self.content_s,
            Stage.FINAL: self.final_s,
            Stage.RSET: self.reset_s,
            Stage.COMMAND: self.command_s,
            Stage.QUIT: self.quit_s,
        }


@dataclass(frozen=True)
class ConnectionSettings:
    """How to connect, the same for many connections."""

    client: ClientSettings
    timeouts: Timeouts = Timeouts()
    source_address: str = ""
    """Local address to connect from, '' = the system's choice."""
    limits: dict[Stage, float] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", self.timeouts.by_stage())


@dataclass(frozen=True)
class TlsSettings:
    """Whether and how to use TLS. With `fingerprints` only these certificates will do, else the context decides."""

    use: TlsUse = TlsUse.NEVER
    context: ssl.SSLContext | None = None
    """None = any certificate, none of our own."""
    server_name: str = ""
    """Name to ask for and, if the context says so, to check; '' = the target's host name."""
    fingerprints: frozenset[bytes] = frozenset()
    """SHA-256 of the DER form of the certificates that are accepted."""
    implicit: bool = False
    """TLS from the first octet, no STARTTLS."""
    identity: str = ""
    """What tells connections apart that must not be shared although they lead to the same address: policy and names."""
    judge: Judge | None = field(default=None, compare=False)
    """The last word on the certificates that the peer showed, after the context's own checks."""


NO_TLS = TlsSettings()
