"""The sections [tunnel] (appliances), [bastion] and [keyd] (support organisation) of the configuration document.

Composed into documents by `daemons/config.py`. Knows no key file and no network.
"""

import ipaddress
import re
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from core.agreement import encode, numbered
from core.config import Host, Port, PublicKey, Section, Size

DEFAULT_DOMAIN = "gatepost.invalid"
DEFAULT_NAME = f"upgrades.{DEFAULT_DOMAIN}"
_PROXY = re.compile(r"(http|socks5)://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):[1-9][0-9]{0,4}/?")
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


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"an address or a network is needed: {error}") from None
    return value


Network = Annotated[str, AfterValidator(_network)]


def _proxy_url(value: str) -> str:
    if value and not _PROXY.fullmatch(value):
        raise ValueError("a proxy is http://HOST:PORT or socks5://HOST:PORT, without a user: that stands in a file")
    return value


ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]


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

    domain: BastionName = Field(
        default=DEFAULT_DOMAIN,
        description="domain of the support organisation: its bastion is SERIES.tunnels.DOMAIN, else upgrades.DOMAIN",
    )
    series: str = Field(
        default="", pattern="^[cxms]?$", description="product series: c, x, m or s; empty = c on an ESA, m on an SMA"
    )
    host: BastionName | None = Field(default=None, description="one host name of the bastion in place of those two")
    port: Port = Field(default=25, description="the port that is tried first, unless techsupport names one")
    ports: tuple[Port, ...] = Field(
        default=(443, 22, 80, 53, 4766, 25), description="the ports that are tried after it, in this order"
    )
    tls_ports: tuple[Port, ...] = Field(
        default=(443,), description="those of them on which SSH inside TLS is tried when plain SSH seems inspected"
    )
    tls_ca: str = Field(
        default="",
        description="authorities for that TLS, a PEM file in this document's folder; empty = any: the host key decides",
    )
    proxy: ProxyUrl = Field(
        default="", description="http://HOST:PORT (CONNECT) or socks5://HOST:PORT that everything goes through"
    )
    proxy_credentials: str = Field(
        default="", description="file with one line USER:PASSWORD for the proxy, in this document's folder"
    )
    registration: str = Field(
        default="required",
        pattern="^(required|optional)$",
        description="optional: a plain SSH server without Gatepost's control channel may be the bastion",
    )
    bastion_keys: tuple[PublicKey, ...] = Field(
        default=(), description="host keys of the bastion that are trusted (public key lines)"
    )
    bastion_cas: tuple[PublicKey, ...] = Field(
        default=(), description="authorities whose host certificates for its names are trusted (public key lines)"
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
    account_hours: float = Field(
        default=0, ge=0, le=8784, description="support's account closes after this; 0 = it stays until disabled"
    )
    hop_networks: tuple[Network, ...] = Field(
        default=("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
        description="networks in which techsupport may name further appliances; never link-local, loopback only itself",
    )
    hop_port: Port = Field(default=22, description="the port on which support reaches them")
    old_clients: bool = Field(
        default=False, description="also take support's clients without AES-GCM, such as dropbear's: aes256-ctr"
    )
    hop_sources: tuple[Network, ...] = Field(
        default=(), description="appliances through which support reaches this one, while SSHACCESS is on"
    )
    service_user: str = Field(
        default="",
        pattern="^([a-z_][a-z0-9._-]{0,31})?$",
        description="who a login shell of support runs as, where techsupport allowed one; empty = there is none",
    )
    reattach_minutes: float = Field(
        default=15, ge=0, le=1440, description="a support session whose connection dropped is kept for this long"
    )
    connect_timeout_s: float = Field(default=5, gt=0, le=60, description="for a TCP connection, and for a banner")
    login_timeout_s: float = Field(default=20, gt=0, le=120, description="for the SSH handshake and login")
    keepalive_s: float = Field(default=15, gt=0, le=300, description="between keepalives; three may be lost")
    retry_first_s: float = Field(default=0.5, gt=0, le=60, description="longest wait before the first new attempt")
    retry_max_s: float = Field(default=300, gt=0, le=3600, description="longest wait between two attempts")
    healthy_s: float = Field(default=60, ge=0, le=3600, description="a tunnel this old makes waits start short again")


def series_of(section: TunnelSection, role: str) -> str:
    """Give the letter of the product series: as configured, or c for an ESA and m for an SMA."""
    return section.series or ("m" if role == "sma" else "c")


def names_of(section: TunnelSection, role: str) -> tuple[str, ...]:
    """Give the names by which the bastion is looked for, in order."""
    if section.host is not None:
        return (section.host,)
    return f"{series_of(section, role)}.tunnels.{section.domain}", f"upgrades.{section.domain}"


class FrontSection(RecordingSection):
    """What the bastion's fronts take: where, from whom, and how much."""

    address: Host = Field(default="0.0.0.0", description="address on which appliances come in")
    ports: tuple[Port, ...] = Field(default=SIX_PORTS, min_length=1, description="ports on which appliances come in")
    shared_ports: tuple[Port, ...] = Field(
        default=(443, 80), description="those of them on which an appliance may also begin with TLS (ALPN ssh)"
    )
    tls_certificate: str = Field(default="keys/tls.crt", description="certificate that is shown there, PEM")
    tls_key: str = Field(default="keys/tls.key", description="its key")
    engineer_address: Host = Field(description="address on which engineers come in; not one of the appliances'")
    engineer_port: Port = Field(default=22)
    names: tuple[Host, ...] = Field(
        default=(DEFAULT_NAME,), min_length=1, description="host names that the bastion's host certificate carries"
    )
    proxies: tuple[Network, ...] = Field(
        default=(), description="balancers whose connections begin with a PROXY header (v1 or v2)"
    )
    unlimited_sources: tuple[Network, ...] = Field(
        default=(), description="networks without penalties and limits per source: many appliances behind one address"
    )
    unauthenticated: int = Field(default=100, ge=1, description="connections that have not logged in, in all")
    early_drop: int = Field(default=30, ge=1, description="from so many on, some are dropped at random")
    unauthenticated_per_source: int = Field(default=10, ge=1, description="the same from one IPv4 address or IPv6 /64")
    penalties: bool = Field(
        default=True, description="keep sources out for a while whose connections come to nothing, as OpenSSH does"
    )
    tries: int = Field(default=3, ge=1, le=20, description="keys that one connection may try")
    handshakes: int = Field(
        default=0, ge=0, le=64, description="key exchanges that compute at once; 0: half as many as processors"
    )
    connections: int = Field(default=2000, ge=1, description="appliances connected at once")
    engineer_connections: int = Field(default=200, ge=1, description="engineers connected at once")
    sessions_per_connection: int = Field(default=20, ge=1, description="channels of one engineer's connection at once")
    appliance_channels: int = Field(default=200, ge=1, description="channels of one appliance's connection at once")
    requests_per_minute: int = Field(default=50, ge=5, description="global requests of one connection")
    rekey_s: float = Field(default=60, ge=1, description="between key exchanges that a client asks for")
    idle_s: float = Field(default=60, gt=0, description="an engineer's connection that opens nothing ends after this")
    login_timeout_s: float = Field(default=20, gt=0, le=120)
    keepalive_s: float = Field(default=15, gt=0, le=300)
    liveness_s: float = Field(default=60, gt=0, le=3600, description="how often each tunnel is proved end to end")
    hop_port: Port = Field(default=22, description="port of an appliance that is reached through another one")
    old_clients: bool = Field(
        default=False, description="also take clients without AES-GCM, such as dropbear's: aes256-ctr"
    )
    registration: str = Field(
        default="required",
        pattern="^(required|optional)$",
        description="optional: a stock `ssh -R` with an enrolled key may be an appliance",
    )


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


class BastionSection(FrontSection, CaseSection):
    """The support organisation's side."""

    certificate_minutes: float = Field(default=15, gt=0, le=1440, description="life of an engineer certificate")
    session_grace_s: float = Field(
        default=3600, ge=0, description="an engineer's connection ends this long after the certificate"
    )


class KeydSection(Section):
    """Who may ask keyd to use the support organisation's keys, and how often."""

    clients: tuple[Annotated[str, Field(pattern="^[a-z_][a-z0-9_-]{0,31}$")], ...] = Field(
        default=(),
        description="users that may ask it; empty = the owner of this document's folder, whom the bastion runs as",
    )
    derivations_per_hour: int = Field(default=10, ge=1, le=1000, description="seeds that one engineer may bring in")
    wrong_seeds_per_hour: int = Field(default=5, ge=1, le=1000, description="wrong seeds for one appliance")
    certify_minutes: float = Field(
        default=60, gt=0, le=1440, description="longest life of a certificate for an appliance, whoever asks"
    )
    grant_hours: float = Field(
        default=168, gt=0, le=8760, description="a grant lives so long where no day of expiry ends it (SSHACCESS)"
    )
    host_days: float = Field(default=90, gt=0, le=3652, description="life of the bastion's host certificate")
