"""The sections [tunnel] (appliances) and [bastion] (support organisation) of the configuration document.

Composed into documents by `daemons/config.py`. Knows no key file and no network.
"""

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field

from core.config import Host, Port, PublicKey, Section

DEFAULT_NAME = "upgrades.gatepost.invalid"
SIX_PORTS = (25, 443, 22, 80, 53, 4766)


def _name(value: str) -> str:
    try:
        ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        return value
    raise ValueError("the bastion is reached by host name, not by address, so that it can move")


BastionName = Annotated[Host, AfterValidator(_name)]


class TunnelSection(Section):
    """The appliance's side of remote access. Nothing is dialled until `techsupport` enables it."""

    host: BastionName = Field(default=DEFAULT_NAME, description="host name of the bastion")
    port: Port = Field(default=25, description="the port that is tried first, unless techsupport names one")
    ports: tuple[Port, ...] = Field(
        default=(443, 22, 80, 53, 4766, 25), description="the ports that are tried after it, in this order"
    )
    bastion_keys: tuple[PublicKey, ...] = Field(
        default=(), description="host keys of the bastion that are trusted (public key lines)"
    )
    bastion_cas: tuple[PublicKey, ...] = Field(
        default=(), description="authorities whose host certificates for `host` are trusted (public key lines)"
    )
    engineer_cas: tuple[PublicKey, ...] = Field(
        default=(), description="authorities whose certificates let an engineer in as `service`"
    )
    life_hours: float = Field(default=168, gt=0, le=168, description="a tunnel takes no new connections after this")
    connect_timeout_s: float = Field(default=5, gt=0, le=60, description="for a TCP connection, and for a banner")
    login_timeout_s: float = Field(default=20, gt=0, le=120, description="for the SSH handshake and login")
    keepalive_s: float = Field(default=15, gt=0, le=300, description="between keepalives; three may be lost")
    retry_first_s: float = Field(default=0.5, gt=0, le=60, description="longest wait before the first new attempt")
    retry_max_s: float = Field(default=300, gt=0, le=3600, description="longest wait between two attempts")
    healthy_s: float = Field(default=60, ge=0, le=3600, description="a tunnel this old makes waits start short again")


class BastionSection(Section):
    """The support organisation's side."""

    address: Host = Field(default="0.0.0.0", description="address on which appliances come in")
    ports: tuple[Port, ...] = Field(default=SIX_PORTS, min_length=1, description="ports on which appliances come in")
    engineer_address: Host = Field(description="address on which engineers come in; not one of the appliances'")
    engineer_port: Port = Field(default=22)
    names: tuple[Host, ...] = Field(
        default=(DEFAULT_NAME,), min_length=1, description="host names that the bastion's host certificate carries"
    )
    unauthenticated: int = Field(default=100, ge=1, description="connections that have not logged in, in all")
    unauthenticated_per_source: int = Field(default=10, ge=1, description="the same from one IPv4 address or IPv6 /64")
    connections: int = Field(default=2000, ge=1, description="appliances connected at once")
    engineer_connections: int = Field(default=200, ge=1, description="engineers connected at once")
    sessions_per_connection: int = Field(default=20, ge=1, description="channels that one engineer connection may open")
    login_timeout_s: float = Field(default=20, gt=0, le=120)
    keepalive_s: float = Field(default=15, gt=0, le=300)
    liveness_s: float = Field(default=60, gt=0, le=3600, description="how often each tunnel is proved end to end")
    certificate_minutes: float = Field(default=15, gt=0, le=1440, description="life of an engineer certificate")
    session_grace_s: float = Field(
        default=3600, ge=0, description="an engineer's connection ends this long after the certificate"
    )
    recording: str = Field(
        default="strict", pattern="^(strict|best-effort)$", description="strict: no recording, no session"
    )
