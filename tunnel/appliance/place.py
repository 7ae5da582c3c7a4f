"""Where the bastion is: names to addresses and ports, always by name.

Each name is looked up as `_gatepost-tunnel._tcp.NAME` (SRV, RFC 2782) and, where there is none, by its addresses; the
first name that gives any is used. What led to an open tunnel is kept in `state/places.json`, for a restart while DNS
is broken. Through a proxy nothing is looked up: the proxy does that. Called by `client.py` and `probe.py`. Raises
`NoPlace` with what to tell the administrator.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from core import clock
from core.disk import Disk, replace_file
from core.dns import Answer, DnsError, DnsNotFound, Srv
from tunnel.appliance.hunt import MOST_ADDRESSES, interleave
from tunnel.appliance.road import Candidate
from tunnel.appliance.verdict import Way

SERVICE = "_gatepost-tunnel._tcp"
FILE_NAME = "places.json"
"""In the machine's state directory."""
MOST_TARGETS = 6
LOOKUP_S = 15.0


class Resolver(Protocol):
    """What is needed of a resolver; `core/dns.py` has it."""

    @property
    def servers(self) -> Sequence[str]:
        """Name the servers that are asked."""

    async def addresses(self, name: str) -> Answer[str]:
        """Give the IPv4 and IPv6 addresses of a host name."""

    async def srv(self, name: str) -> Answer[Srv]:
        """Give the service locations of a name."""


class NoPlace(Exception):
    """No name could be turned into an address; the text says which, why, and who was asked."""


class Place(msgspec.Struct, frozen=True):
    """One host that the bastion may be on."""

    name: str
    """The name that was asked for, which its host key must be of."""
    addresses: tuple[str, ...]
    port: int = 0
    """What DNS says; 0 if it does not."""


class _Memory(msgspec.Struct):
    at: float
    places: list[Place]


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to where the bastion is."""

    places: tuple[Place, ...]
    remembered_at: float = 0.0
    """When they were good, if DNS gave nothing now; else 0."""
    problem: str = ""
    """Why names cannot be resolved, if they are remembered."""


def _chance(top: float) -> float:
    return random.uniform(0, top)  # noqa: S311 - spreads load, guards nothing


def shuffled(services: Sequence[Srv], pick: Callable[[float], float] = _chance) -> list[Srv]:
    """Order service locations: lowest priority first, within one by weight and chance (RFC 2782)."""
    rest, ordered = sorted(services, key=lambda one: (one.priority, one.weight > 0)), []
    while rest:
        same = [one for one in rest if one.priority == rest[0].priority]
        point, passed = pick(sum(one.weight for one in same)), 0.0
        for one in same:
            passed += one.weight
            if passed >= point:
                break
        ordered.append(one)
        rest.remove(one)
    return ordered


class Places:
    """Looks the bastion up."""

    def __init__(self, names: Sequence[str], resolver: Resolver, file: Path, *, now: clock.Clock = clock.now) -> None:
        self.names = tuple(names)
        self._resolver = resolver
        self._file = file
        self._now = now
        self._kept: tuple[Place, ...] = ()

    async def find(self) -> Found:
        """Give the places of the first name that has any; what is remembered, if no name can be looked up."""
        problems: list[DnsError] = []
        for name in self.names:
            try:
                async with asyncio.timeout(LOOKUP_S):
                    places = await self._places(name)
            except DnsError as error:
                problems.append(error)
            except TimeoutError:
                problems.append(DnsError(name, "A", "Timeout"))
            else:
                return Found(places)
        memory = self._remembered()
        problem = self._problem(problems)
        if memory is None:
            raise NoPlace(problem)
        return Found(tuple(memory.places), memory.at, problem)

    def remember(self, found: Found) -> None:
        """Keep places that led to an open tunnel. Raises OSError."""
        if found.remembered_at or found.places == self._kept:
            return
        self._kept = found.places
        memory = _Memory(self._now(), list(found.places))
        replace_file(Disk(), self._file, msgspec.json.encode(memory) + b"\n", mode=0o600)

    async def _places(self, name: str) -> tuple[Place, ...]:
        try:
            services = (await self._resolver.srv(f"{SERVICE}.{name}")).records[:MOST_TARGETS]
        except DnsError:
            services = ()
        places = []
        for service in shuffled([one for one in services if one.host != "."]):
            try:
                answer = await self._resolver.addresses(service.host)
            except DnsError:
                continue
            places.append(Place(name, tuple(interleave(answer.records)), service.port))
        if places:
            return tuple(places)
        answer = await self._resolver.addresses(name)
        return (Place(name, tuple(interleave(answer.records))),)

    def _remembered(self) -> _Memory | None:
        try:
            memory = msgspec.json.decode(self._file.read_bytes(), type=_Memory)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        memory.places = [place for place in memory.places if place.name in self.names]
        return memory if memory.places else None

    def _problem(self, problems: Sequence[DnsError]) -> str:
        what = "; ".join(f"{one.name}: {one.reason}" for one in problems)
        asked = ", ".join(self._resolver.servers)
        if all(isinstance(one, DnsNotFound) for one in problems):
            return f"the bastion's name does not exist: {what}; asked {asked}; check tunnel.domain and tunnel.host"
        return f"names cannot be resolved: {what}; asked {asked}; check [dns] servers and the way to them"


def candidates(places: Sequence[Place], ports: Sequence[int], *, proxied: bool = False) -> list[Candidate]:
    """Give what to try, in order: port by port, and on each the addresses of all places in turn.

    The first port is the administrator's; one that DNS names comes next.
    """
    way = Way.PROXY if proxied else Way.SSH
    named = [place.port for place in places if place.port]
    order = dict.fromkeys([*ports[:1], *named, *ports[1:]])
    hosts = [(place.name, address) for place in places for address in place.addresses]
    hosts = list(dict.fromkeys(hosts))[: 2 * MOST_ADDRESSES]
    return [Candidate(name, address, port, way) for port in order for name, address in hosts]


def by_proxy(names: Sequence[str]) -> Found:
    """Give places for a proxy, which looks names up itself."""
    return Found(tuple(Place(name, (name,)) for name in names))
