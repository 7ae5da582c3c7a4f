"""Puts the parts of the tunnel client together, for `daemons/tunnel_client.py` and for tests.

Makes keys that are missing: an appliance makes its own. Raises `GatepostError` (78) for a key or a file that is there
and cannot be used.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core import agreement, clock
from core.errors import EX_CONFIG, GatepostError
from core.given import given_or
from core.pki import user_name
from core.ssh import ensure_key, read_key
from tunnel.appliance import activation, place, registration
from tunnel.appliance.client import CHECK_S, TunnelClient
from tunnel.appliance.enabling import Enabling
from tunnel.appliance.link import LinkTerms
from tunnel.appliance.place import Places, Resolver
from tunnel.appliance.probe import Probe
from tunnel.appliance.proxy import proxy_of
from tunnel.appliance.road import Connect, Road, connect_tcp, tls_context
from tunnel.appliance.round import Dialler
from tunnel.config import TunnelSection, names_of, series_of
from tunnel.control_message import Register
from tunnel.identity import SERVICE_SOCKET


@dataclass(frozen=True, slots=True)
class Whose:
    """The machine that the client is built for."""

    serial: str
    role: str
    directory: Path
    version: str = ""


def build_client(
    section: TunnelSection,
    machine: Whose,
    resolver: Resolver,
    log: Callable[[str], None],
    *,
    warn: Callable[[str], None] | None = None,
    connect: Connect = connect_tcp,
    now: clock.Clock = clock.now,
    check_s: float = CHECK_S,
) -> TunnelClient:
    """Build the service from a machine directory; `warn` reaches people."""
    keys, state = machine.directory / "keys", machine.directory / "state"
    _own_keys(keys, machine.serial, log)
    proxy = proxy_of(section.proxy, _file(machine.directory, section.proxy_credentials))
    road = Road(section.connect_timeout_s, connect=connect, context=_context(section, machine.directory), proxy=proxy)
    terms = LinkTerms(
        name=user_name(machine.serial),
        key=read_key(given_or(keys / "tunnel_ed25519")),
        bastion_keys=section.bastion_keys,
        bastion_cas=section.bastion_cas,
        console=machine.directory / "run" / SERVICE_SOCKET,
        login_timeout_s=section.login_timeout_s,
        keepalive_s=section.keepalive_s,
        registration=section.registration,
    )
    generation = registration.GenerationFile(state / registration.FILE_NAME)
    places = Places(names_of(section, machine.role), resolver, state / place.FILE_NAME, now=now)
    return TunnelClient(
        section,
        terms,
        Dialler(section, terms, places, road, generation, log),
        Enabling(section, machine.serial, agreement.ensure_key(keys / "exchange_x25519")),
        Probe(road, terms, section.ports, section.tls_ports),
        state / activation.FILE_NAME,
        log,
        warn=warn,
        register=Register(
            product=f"Gatepost {machine.version}".strip(),
            series=series_of(section, machine.role),
            activation_id="",
            mode=activation.TUNNEL,
            until_at=0,
            generation=0,
        ),
        now=now,
        check_s=check_s,
    )


def _own_keys(keys: Path, serial: str, log: Callable[[str], None]) -> None:
    """Make what this machine must have of its own."""
    for name in ("host", "tunnel"):
        path = given_or(keys / f"{name}_ed25519")
        if not path.exists():
            log(f"{path} is made anew: this machine has to be enrolled at the bastion with it")
        ensure_key(path, f"{name} {serial}")
    path = keys / "exchange_x25519"
    if not path.exists():
        log(f"{path} is made anew: this machine has to be enrolled at the bastion with it")
    agreement.ensure_key(path)


def _file(directory: Path, name: str) -> Path | None:
    return directory / name if name else None


def _context(section: TunnelSection, directory: Path) -> ssl.SSLContext | None:
    if not section.tls_ports:
        return None
    authorities = _file(directory, section.tls_ca)
    try:
        return tls_context(str(authorities) if authorities is not None else None)
    except OSError as error:
        reason = error.strerror or "no certificates in PEM form"
        raise GatepostError(f"{authorities}: tunnel.tls_ca cannot be read: {reason}", EX_CONFIG) from error
