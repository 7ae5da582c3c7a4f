"""Where a network tool starts from and where it goes to: own addresses by name, hosts by the configured resolver.

The commands in `ops/cli/commands/network/` use it. Nothing that an operator typed gets to a program of the system
as it is: hosts are turned into addresses here. Raises `GatepostError` 65 for an interface or host that is none, 75
when no name server answers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from core.lookup import Row, ask
from core.name_server import NameServer, is_address, name_servers

AUTO = "Auto"
_LINK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,14}")


@dataclass(frozen=True)
class Place:
    """One of this machine's addresses, by the name that the configuration gives it."""

    name: str
    address: str

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


@dataclass(frozen=True)
class Target:
    """A host, and the address that stands for it."""

    host: str
    address: str


def places(configuration: Mapping[str, Any]) -> list[Place]:
    """Give the addresses of interfaces, then of listeners, each name and address once."""
    rows = [*_rows(configuration, "interface"), *_rows(configuration, "listener")]
    known: dict[str, Place] = {}
    for row in rows:
        name, address = str(row.get("name", "")), str(row.get("address", ""))
        if is_address(address) and not ip_address(address).is_unspecified:
            known.setdefault(address, Place(name, address))
    return list(known.values())


def _rows(configuration: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    rows = configuration.get(key)
    return rows if isinstance(rows, list | tuple) else ()


def source_of(text: str, known: Iterable[Place]) -> str:
    """Turn the name of an interface or listener, or an address, into an address; '' or `auto` is ''."""
    if text.lower() in {"", AUTO.lower()}:
        return ""
    if is_address(text):
        return text
    found = [place.address for place in known if place.name.lower() == text.lower()]
    if not found:
        raise GatepostError(f"{text!r}: no interface or listener of that name; give one, or an address", EX_NOINPUT)
    return found[0]


def link_of(text: str) -> str:
    """Take the name of a network device as it stands. Raises status 65 for what cannot be one."""
    if not _LINK.fullmatch(text):
        raise GatepostError(f"{text!r} is no name of a network interface", EX_DATAERR)
    return text


def servers_of(configuration: Mapping[str, Any]) -> list[NameServer]:
    """Give the name servers that the configuration names."""
    section = configuration.get("dns")
    given = section.get("servers") if isinstance(section, Mapping) else ()
    return name_servers([str(one) for one in given or ()])


async def find(configuration: Mapping[str, Any], host: str, source: str = "", *, family: int = 0) -> Target:
    """Find the address of a host, of the family 4 or 6 or that of the source. Raises status 65 and 75."""
    wanted = ip_address(source).version if source else family
    if is_address(host):
        if wanted and ip_address(host).version != wanted:
            raise GatepostError(f"{host} cannot be reached from an address of IPv{wanted}", EX_DATAERR)
        return Target(host, host)
    if host.rstrip(".").lower() == "localhost":  # RFC 6761 6.3
        return Target(host, "::1" if wanted == 6 else "127.0.0.1")
    servers = servers_of(configuration)
    for kind in [kind for kind, version in (("A", 4), ("AAAA", 6)) if wanted in (0, version)]:
        reply = await ask(servers, host, kind)
        rows: list[Row] = [row for row in reply.sections["answer"] if row.kind == kind]
        if rows:
            return Target(host, rows[0].text)
    version = f" of IPv{wanted}" if wanted else ""
    raise GatepostError(f"{host} has no address{version} in the DNS", EX_DATAERR)
