"""The configuration of delivery: routes, destinations, bounce profiles, the interfaces that mail leaves by.

`mail/config.py` puts the sections into the documents; `daemons/delivery.py` turns them into the objects that deliver.
A section checks itself; what must fit together is checked by `mail/delivery/crosscheck.py`.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from core.config import Host, Ip, Name, Section, Size
from mail.delivery.route import Family, Route, check_host, parse_hosts
from mail.hat import check_host_name


def _route_domain(value: str) -> str:
    return "ALL" if value.upper() == "ALL" else check_host_name(value)


class RouteSection(Section):
    """A row of the SMTP route table; the most specific domain wins."""

    domain: Annotated[str, AfterValidator(_route_domain)] = Field(description="domain, .partial or ALL")
    hosts: tuple[Annotated[str, AfterValidator(check_host)], ...] = Field(
        description='"host", "host:port", "[address]:port", "/dev/null", "USEDNS"; "/pri=N" after it'
    )

    @model_validator(mode="after")
    def _hosts_go_together(self) -> "RouteSection":
        parse_hosts(Route(self.domain, self.hosts))
        return self


class DestinationSection(Section):
    """Limits of a destination domain; each domain in no row has a copy of the row DEFAULT."""

    domain: str = Field(default="DEFAULT", description="domain, or DEFAULT")
    max_connections: int = Field(default=500, ge=1, le=10_000, description="open connections to it")
    max_messages_per_connection: int = Field(default=50, ge=1, le=100_000, description="messages a connection")
    tls: Literal["off", "preferred", "required", "required-verify"] = Field(
        default="preferred",
        description="TLS towards it: off, preferred, required, or required-verify (certificate and host name checked)",
    )
    ip_preference: Family = Field(
        default="prefer-v4", description="which addresses are tried: prefer-v4, prefer-v6, require-v4 or require-v6"
    )
    bounce_profile: str = Field(default="Default", description="name of a bounce profile")


class DeliverySection(Section):
    """Delivery as a whole."""

    max_connections: int = Field(default=10_000, ge=1, le=100_000, description="open outbound connections")
    connect_timeout_s: float = Field(default=30.0, gt=0, le=600, description="wait for a connection")
    greeting_timeout_s: float = Field(default=300.0, gt=0, le=3600, description="wait for the banner")
    command_timeout_s: float = Field(default=300.0, gt=0, le=3600, description="wait for a reply to a command")
    final_timeout_s: float = Field(default=600.0, gt=0, le=3600, description="wait for the reply to a whole message")
    idle_close_s: float = Field(default=5.0, ge=0, le=300, description="an idle connection is kept this long")
    source_address: Ip | Literal[""] = Field(default="", description="local address to send from; empty = by the route")
    default_interface: Name = Field(
        default="auto", description="interface or group that mail leaves by, or auto: source_address and our host name"
    )


class BounceProfileSection(Section):
    """When delivery is given up and what the sender is told."""

    name: Name = Field(default="Default", description="name of the profile")
    max_retries: int = Field(default=100, ge=0, le=10_000, description="attempts after the first")
    max_in_queue_s: int = Field(default=259_200, ge=0, le=3_000_000, description="given up after this (72 hours)")
    initial_retry_s: int = Field(default=60, ge=1, le=86_400, description="first wait; doubles afterwards")
    max_retry_s: int = Field(default=3_600, ge=1, le=86_400, description="longest wait between attempts")
    hard_bounce: bool = Field(default=True, description="report a failure to the sender")
    max_bounce_copy: Size = Field(default=10 << 10, description="messages up to this are returned whole")


class InterfaceSection(Section):
    """An address that mail can leave by; as a virtual gateway it has queues, limits and host states of its own."""

    name: Name = Field(description="name of the interface, shown in views and known to filters")
    address: Ip = Field(description="local IP address that its connections come from")
    hostname: Host = Field(description="host name that its connections give in EHLO")


class InterfaceGroupSection(Section):
    """Several interfaces taken in turn, connection by connection; together they are one virtual gateway."""

    name: Name = Field(description="name of the group, different from all interfaces")
    interfaces: tuple[Name, ...] = Field(min_length=1, description="names of its interfaces")
