"""The sections that every machine has: who it is, names, TLS, certificates, logs, start and stop."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from core.config import Host, Section, checked, repeated
from core.name_server import name_server
from core.time_zone import check_zone
from core.tls_rules import MODERN, VERSIONS, WIDE, TlsRules, check_ciphers, check_versions

MOST_GATEWAYS = 64
"""Gateway processes of one machine."""


def _domain(value: str) -> None:
    labels = value.rstrip(".").split(".")
    if not all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", one) for one in labels):
        raise ValueError("a domain name is needed")


class ApplianceSection(Section):
    """Who this machine is."""

    role: str = Field(description="esa, sma or bastion")
    serial: str = Field(
        description="serial number, made by `gatepost init`", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
    )
    hostname: Host = Field(description="full host name; banner, HELO and Received lines carry it")
    timezone: Annotated[str, AfterValidator(checked(check_zone))] = Field(
        default="", description="zone in which logs and the console show times, such as Europe/Berlin; empty = system's"
    )


class PrivateDomainSection(Section):
    """A domain that name servers of one's own know."""

    domain: Annotated[str, AfterValidator(checked(_domain))] = Field(
        description="the domain and all below it; in-addr.arpa domains too"
    )
    servers: tuple[Annotated[str, AfterValidator(checked(name_server))], ...] = Field(
        min_length=1, max_length=20, description='"address", "address:port" or with a priority "address/pri=1"'
    )


class DnsSection(Section):
    """Where names are looked up."""

    servers: tuple[Annotated[str, AfterValidator(checked(name_server))], ...] = Field(
        default=(),
        max_length=20,
        description='"address", "address:port" or with a priority "address/pri=1" of each server, 0 first; empty ='
        " /etc/resolv.conf",
    )
    root: bool = Field(default=False, description="ask the root servers of the Internet and those below, not `servers`")
    private: tuple[PrivateDomainSection, ...] = Field(
        default=(), max_length=1000, description="domains that other servers are asked for"
    )
    timeout_s: float = Field(default=5.0, gt=0, le=60, description="seconds for one question, all tries")
    reverse_timeout_s: float = Field(
        default=20.0, ge=0, le=60, description="longest wait for the host name of an address; 0 = none is looked up"
    )
    validating: bool | None = Field(
        default=None, description="believe them on DNSSEC (DANE needs it); unset = only if all are on this machine"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "DnsSection":
        if self.root and self.servers:
            raise ValueError("root = true asks the root servers: leave servers out, or root")
        if self.root and self.validating:
            raise ValueError("validating = true needs servers that validate: root servers do not")
        if twice := repeated(row.domain for row in self.private):
            raise ValueError(f"private domains twice: {', '.join(twice)}")
        return self


def _spoken(value: tuple[str, ...]) -> tuple[str, ...]:
    check_versions(value)
    return tuple(sorted(set(value)))


Versions = Annotated[tuple[Literal["1.2", "1.3"], ...], AfterValidator(_spoken)]
Ciphers = Annotated[str, AfterValidator(checked(check_ciphers))]


class TlsSection(Section):
    """TLS of the web side (gui), of mail that comes in (inbound) and of mail that goes out (outbound)."""

    gui_versions: Versions = Field(default=VERSIONS, description="TLS versions: 1.2 and 1.3")
    gui_ciphers: Ciphers = Field(default=MODERN, description="ciphers of TLS 1.2, as OpenSSL writes them")
    inbound_versions: Versions = Field(default=VERSIONS, description="as gui_versions")
    inbound_ciphers: Ciphers = Field(default=MODERN, description="as gui_ciphers")
    outbound_versions: Versions = Field(default=VERSIONS, description="as gui_versions")
    outbound_ciphers: Ciphers = Field(default=WIDE, description="as gui_ciphers")
    receiving_certificate: str = Field(
        default="", description="name of the [[certificate]] that listeners show; empty = keys/tls.crt"
    )
    delivery_certificate: str = Field(
        default="", description="name of the [[certificate]] shown to hosts that ask for one; empty = none"
    )
    https_certificate: str = Field(
        default="", description="name of the [[certificate]] of the web side; empty = keys/tls.crt"
    )

    @property
    def gui(self) -> TlsRules:
        """What the web side speaks."""
        return TlsRules(self.gui_versions, self.gui_ciphers)

    @property
    def inbound(self) -> TlsRules:
        """What listeners speak."""
        return TlsRules(self.inbound_versions, self.inbound_ciphers)

    @property
    def outbound(self) -> TlsRules:
        """What delivery speaks."""
        return TlsRules(self.outbound_versions, self.outbound_ciphers)


class CertificateSection(Section):
    """A certificate beside keys/tls.crt; listeners also show it to clients that ask for one of its names (SNI)."""

    name: str = Field(
        default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$", description="name that [tls] calls it by"
    )
    certificate: str = Field(description="PEM file with the chain, relative to this document's folder")
    key: str = Field(description="PEM file with its private key")


class LogSection(Section):
    """The text mail log and its level."""

    level: int = Field(default=3, ge=1, le=5, description="1 critical, 2 warning, 3 information, 4 debug, 5 trace")
    max_bytes: int = Field(default=100 * 1024 * 1024, ge=64 * 1024, description="a log file rolls over at this size")
    keep: int = Field(default=10, ge=1, le=1000, description="rolled-over files kept")
    message_id: bool = Field(default=True, description="the mail log has the Message-ID of each message")
    subject: bool = Field(default=True, description="the mail log has the subject that each message came with")
    remote_response: bool = Field(default=True, description="the mail log has what the next host said to the content")
    headers: tuple[Annotated[str, Field(pattern=r"^[!-9;-~]{1,80}$")], ...] = Field(
        default=(), max_length=20, description="header fields that stand in the mail log when a message is delivered"
    )


class RuntimeSection(Section):
    """How every daemon of this machine starts and stops."""

    grace_s: float = Field(
        default=10.0,
        ge=0,
        le=600,
        description="seconds that work in hand gets after SIGTERM before it is cancelled",
    )
    gateways: int = Field(
        default=1,
        ge=1,
        le=MOST_GATEWAYS,
        description="processes of a mail gateway, one on two processors; `gatepost systemd install` makes units",
    )
