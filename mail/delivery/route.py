"""SMTP routes: hosts that mail for a domain is sent to instead of its MX.

A table of domains: `example.com`, `.partial` (all subdomains of it), `ALL`. The most specific entry wins, whatever
its place. Read by `mail/delivery/resolve.py`; the table is not recursive, a route's host is never looked up in it.
It does no lookups itself. Raises `ValueError` for an entry that cannot be read, with the entry in its text.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import ip_address
from typing import Literal

from protocol.domain import canonical, literal_address
from protocol.domain import check_domain as _check_name

LIMIT = 40_000
"""Most entries of a table, ALL included."""
Family = Literal["prefer-v6", "prefer-v4", "require-v6", "require-v4"]
"""Which addresses of a destination's hosts are called, and in which order."""

_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?")
_PRIORITY_LIMIT = 65_535
_PORT_LIMIT = 65_535


@dataclass(frozen=True, slots=True)
class Route:
    """One entry as configured."""

    domain: str
    hosts: tuple[str, ...]


class Way(Enum):
    """What to do for a domain."""

    DNS = auto()
    DROP = auto()
    HOSTS = auto()


@dataclass(frozen=True, slots=True)
class RouteHost:
    """One host of a route."""

    name: str
    """Host name, or an address as text."""
    port: int | None = None
    priority: int = 0
    """0 is tried first."""
    literal: bool = False
    """`name` is an address."""
    addresses_only: bool = False
    """Given in brackets: its own addresses, not its MX."""


@dataclass(frozen=True, slots=True)
class Routing:
    """What a route says; `hosts` is ordered by priority and only filled for `Way.HOSTS`."""

    way: Way
    hosts: tuple[RouteHost, ...] = ()


BY_DNS = Routing(Way.DNS)


class SmtpRoutes:
    """The table, checked and compiled once."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._exact: dict[str, Routing] = {}
        self._partial: dict[str, Routing] = {}
        self._all = BY_DNS
        domains = set()
        for route in routes:
            domain = canonical(route.domain.strip())
            if not domain or domain in domains:
                raise ValueError(f"route {route.domain!r}: {'given twice' if domain else 'empty domain'}")
            domains.add(domain)
            self._add(domain, parse_hosts(route))
        if len(domains) > LIMIT:
            raise ValueError(f"{len(domains)} routes, at most {LIMIT} are allowed")

    def _add(self, domain: str, routing: Routing) -> None:
        if domain == "all":
            self._all = routing
        elif domain.startswith("."):
            self._partial[domain] = routing
        else:
            self._exact[domain] = routing

    def lookup(self, domain: str) -> Routing:
        """Give what the most specific entry says about a recipient domain; without any: by DNS."""
        domain = canonical(domain)
        found = self._exact.get(domain)
        dot = domain.find(".")
        while found is None and dot >= 0:
            found = self._partial.get(domain[dot:])
            dot = domain.find(".", dot + 1)
        return self._all if found is None else found


def check_domain(text: str) -> str:
    """Give the domain of an entry in the form of the table. Raises `ValueError`."""
    if text.upper() == "ALL":
        return "ALL"
    if literal_address(text) is not None:
        return text.lower()
    return f".{_check_name(text[1:])}" if text.startswith(".") else _check_name(text)


_SPECIAL = {"usedns": BY_DNS, "/dev/null": Routing(Way.DROP)}


def check_host(text: str) -> str:
    """Give one host of an entry as it is, if it can be read. Raises `ValueError`."""
    word = text.strip()
    if word.lower() not in _SPECIAL:
        _host(word)
    return text


def parse_hosts(route: Route) -> Routing:
    """Read the hosts of one entry. Raises `ValueError`."""
    words = [host.strip() for host in route.hosts]
    for word in words:
        if word.lower() in _SPECIAL:
            if len(words) > 1:
                raise ValueError(f"route {route.domain!r}: {word} must stand alone")
            return _SPECIAL[word.lower()]
    if not words:
        raise ValueError(f"route {route.domain!r}: no host")
    try:
        hosts = [_host(word) for word in words]
    except ValueError as problem:
        raise ValueError(f"route {route.domain!r}: {problem}") from None
    return Routing(Way.HOSTS, tuple(sorted(hosts, key=lambda host: host.priority)))


def _host(word: str) -> RouteHost:
    """Read `host`, `host:port`, `[host]`, `[host]:port`, an address, each with an optional `/pri=N`."""
    place, slash, tail = word.partition("/")
    priority = _priority(word, tail) if slash else 0
    if _is_address(place):
        return RouteHost(place, None, priority, literal=True)
    port: int | None = None
    name, colon, number = place.rpartition(":")
    if colon and not place.endswith("]"):
        if not number.isdecimal() or not 0 < int(number) <= _PORT_LIMIT:
            raise ValueError(f"{word!r} has no port from 1 to {_PORT_LIMIT} behind the colon")
        port, place = int(number), name
    bracketed = place.startswith("[") and place.endswith("]")
    name = place[1:-1] if bracketed else place
    address = name.lower().removeprefix("ipv6:") if bracketed else name
    if _is_address(address):
        return RouteHost(address, port, priority, literal=True)
    if not _HOST.fullmatch(name):
        raise ValueError(f"{word!r} is no host name or address")
    return RouteHost(name.rstrip(".").lower(), port, priority, addresses_only=bracketed)


def _priority(word: str, tail: str) -> int:
    number = tail.lower().removeprefix("pri=")
    if number == tail.lower() or not number.isdecimal() or int(number) > _PRIORITY_LIMIT:
        raise ValueError(f"{word!r}: what follows the slash must be pri=0 to pri={_PRIORITY_LIMIT}")
    return int(number)


def _is_address(text: str) -> bool:
    if ":" not in text and not text[-1:].isdigit():
        return False  # most are names, and a table has 40,000
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
