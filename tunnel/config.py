"""The sections [tunnel] (appliances), [bastion] and [keyd] (support organisation) of the configuration document.

Composed into documents by `daemons/config.py`. Knows no key file and no network.
"""

import ipaddress
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from core.agreement import encode, numbered
from core.config import Host, Port, PublicKey, Section, Size

DEFAULT_NAME = "upgrades.gatepost.invalid"
SIX_PORTS = (25, 443, 22, 80, 53, 4766)


def _name(value: str) -> str:
    try:
        ipaddress.ip_address(value.strip("[]"))
    except ValueError:
        return value
    raise ValueError("the bastion is reached by host name, not by address, so that it can move")


def _support_key(value: str) -> str:
    number, key = numbered(value)
    return f"{number} {encode(key)}"


def _two_numbers(values: tuple[str, ...]) -> tuple[str, ...]:
    numbers = [numbered(value)[0] for value in values]
    if len(set(numbers)) < len(numbers):
        raise ValueError("two support keys have the same number")
    return values


BastionName = Annotated[Host, AfterValidator(_name)]
SupportKey = Annotated[str, AfterValidator(_support_key)]


class RecordingSection(Section):
    """How sessions are recorded; the keys stand in the section of whoever records."""

    recording: str = Field(
        default="strict",
        pattern="^(strict|best-effort)$",
        description="strict: no recording, no session; best-effort: it goes on without, noted",
    )
    recording_strict_roles: tuple[str, ...] = Field(
        default=(), description="roles for which it is strict, whatever else"
    )
    recording_best_effort_roles: tuple[str, ...] = Field(default=(), description="roles for which it is best-effort")
    recording_emergency_role: str = Field(
        default="emergency",
        description="role that gets in even where nothing can be recorded; each time is an alarm; empty = none",
    )
    recording_input: str = Field(
        default="off",
        pattern="^(off|echoed|all)$",
        description="keystrokes: off; echoed = what the terminal showed, so no passwords; all",
    )
    recording_reserve: Size = Field(
        default=256 << 20, description="free space below which no new session begins (emergency role excepted)"
    )
    recording_keep_days: int = Field(default=0, ge=0, description="days that recordings are kept; 0 = for ever")
    recording_keep: Size = Field(default=0, description="space for all recordings, the oldest go first; 0 = no limit")


class TunnelSection(RecordingSection):
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
    recording: str = Field(
        default="best-effort",
        pattern="^(strict|best-effort|off)$",
        description="your own recording of what support does; strict: no recording, no session; best-effort; off",
    )
    support_keys: Annotated[tuple[SupportKey, ...], AfterValidator(_two_numbers)] = Field(
        default=(),
        max_length=2,
        description='public keys of support that seeds are made for, "NUMBER BASE64"; the first is used now',
    )
    life_hours: float = Field(default=168, gt=0, le=168, description="a tunnel takes no new connections after this")
    connect_timeout_s: float = Field(default=5, gt=0, le=60, description="for a TCP connection, and for a banner")
    login_timeout_s: float = Field(default=20, gt=0, le=120, description="for the SSH handshake and login")
    keepalive_s: float = Field(default=15, gt=0, le=300, description="between keepalives; three may be lost")
    retry_first_s: float = Field(default=0.5, gt=0, le=60, description="longest wait before the first new attempt")
    retry_max_s: float = Field(default=300, gt=0, le=3600, description="longest wait between two attempts")
    healthy_s: float = Field(default=60, ge=0, le=3600, description="a tunnel this old makes waits start short again")


class CaseSection(Section):
    """Where the bastion keeps what it knows, who approves a case, and the other bastions on the same store."""

    database: str = Field(
        default="",
        pattern="^(postgres(ql)?://.*)?$",
        description="postgresql://USER@HOST/NAME that several bastions share; empty = a file of this bastion's own",
    )
    node: Host = Field(default="bastion", description="name of this bastion among those that share a database")
    presence_s: float = Field(
        default=15, ge=1, le=300, description="so long after its last sign of life a bastion's tunnels count as gone"
    )
    peer_address: Host = Field(default="127.0.0.1", description="address on which the other bastions reach this one")
    peer_port: int = Field(default=0, ge=0, le=65535, description="port for them, mutual TLS; 0 = there are no others")
    peer_ca: str = Field(default="keys/peer_ca.crt", description="authority of all bastions' certificates, PEM")
    peer_certificate: str = Field(default="keys/peer.crt", description="certificate of this node (bastion peer), PEM")
    peer_key: str = Field(default="keys/peer.key", description="its key")
    approval: str = Field(
        default="second-person",
        pattern="^(second-person|command|none)$",
        description="who approves that an engineer works on a case: somebody else, approval_command, nobody",
    )
    approval_command: tuple[str, ...] = Field(
        default=(), description="program and arguments; gets JSON on standard input, exit status 0 means yes"
    )
    approval_wait_s: float = Field(default=90, gt=0, le=600, description="an engineer waits so long for an approval")
    approvals_waiting: int = Field(default=256, ge=1, description="engineers that may wait for an approval at once")
    approvals_waiting_per_source: int = Field(default=3, ge=1, description="the same from one address")

    @model_validator(mode="after")
    def _command_is_there(self) -> Self:
        if self.approval == "command" and not self.approval_command:
            raise ValueError('approval = "command" needs approval_command')
        return self


class BastionSection(RecordingSection, CaseSection):
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


class KeydSection(Section):
    """Who may ask keyd to use the support organisation's keys, and how often."""

    clients: tuple[Annotated[str, Field(pattern="^[a-z_][a-z0-9_-]{0,31}$")], ...] = Field(
        default=(), description="users that may ask it: the one the bastion runs as; keyd's own user always may"
    )
    derivations_per_hour: int = Field(default=10, ge=1, le=1000, description="seeds that one engineer may bring in")
    wrong_seeds_per_hour: int = Field(default=5, ge=1, le=1000, description="wrong seeds for one appliance")
    grant_hours: float = Field(
        default=168, gt=0, le=8760, description="a grant lives so long where no day of expiry ends it (SSHACCESS)"
    )
    host_days: float = Field(default=90, gt=0, le=3652, description="life of the bastion's host certificate")
