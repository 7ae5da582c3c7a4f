"""From a recipient domain to the addresses to call, in order: routes, MX, addresses (RFC 5321 5.1).

Called by the SMTP courier before it connects; the answer may be kept for its `ttl_s`. What cannot be called becomes a
`BadDestination` (permanent: no such domain, null MX, only ourselves) or a `NoDestination` (temporary). A route
never falls back to the MX, and its failures are always temporary.
"""

import asyncio
import random
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from itertools import groupby

from core.dns import Answer, DnsError, DnsNotFound, Mx, Resolver
from core.smtp.target import Target
from mail.delivery.route import Family, RouteHost, SmtpRoutes, Way
from protocol.domain import literal_address
from protocol.errors import PermanentFailure, TemporaryFailure
from protocol.reply import Reply

Candidate = tuple[Target, ...]
"""The addresses of one host, in the order to try them."""
Group = tuple[Candidate, ...]
"""Hosts of equal preference."""

_HOST_LIMIT = 20
_ROUTE_TTL_S = 300.0
_LITERAL_TTL_S = 3600.0


class BadDestination(PermanentFailure):
    """Mail for this domain can never be delivered."""

    def __init__(self, enhanced: str, summary: str, code: str, detail: str) -> None:
        number = int(code) if code != "000" else 550
        super().__init__(Reply(number, enhanced, f"{summary}: {detail}"), detail)


class NoDestination(TemporaryFailure):
    """Nobody could tell now where mail for this domain goes."""

    def __init__(self, detail: str, lookup: str = "") -> None:
        super().__init__(Reply(451, "4.4.0", f"Other network problem: {detail}"), detail)
        self.lookup = lookup
        """Which lookup nobody could answer and why, as the mail log says it; '' if it was none."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where mail for a domain goes."""

    groups: tuple[Group, ...]
    ttl_s: float
    drop: bool = False
    """The route says /dev/null: take it as delivered."""
    routed: bool = False
    """A route decided, not DNS."""
    secure: bool = False
    """All the lookups were validated."""
    mx: tuple[Mx, ...] = ()

    def targets(self, turn: int = 0) -> list[Target]:
        """Give all targets in the order to try.

        `turn`, one more for each connection, rotates equal hosts and, a round of them later, each host's addresses.
        """
        ordered: list[Target] = []
        for group in self.groups:
            start = turn % len(group)
            for candidate in group[start:] + group[:start]:
                ordered += candidate if len(candidate) == 1 else _turned(candidate, turn // len(group))
        return ordered


class DestinationResolver:
    """Resolves domains by routes and DNS."""

    def __init__(
        self,
        resolver: Resolver,
        routes: SmtpRoutes,
        *,
        port: int = 25,
        own_names: Iterable[str] = (),
        own_addresses: Container[str] = (),
        family: Callable[[str], Family] = lambda _domain: "prefer-v6",
        shuffle: Callable[[list[Candidate]], None] = random.shuffle,
    ) -> None:
        """`own_names` and `own_addresses` tell when an MX or a literal leads back to this host; `family` is by
        recipient domain."""
        self._resolver = resolver
        self._routes = routes
        self._port = port
        self._own_names = frozenset(name.rstrip(".").lower() for name in own_names)
        self._own_addresses = own_addresses
        self._family = family
        self._shuffle = shuffle

    def reroute(self, routes: SmtpRoutes) -> None:
        """Resolve by other routes from now on."""
        self._routes = routes

    async def resolve(self, domain: str) -> Resolution:
        """Find the targets of a recipient domain. Raises `BadDestination` or `NoDestination`."""
        return _of_family(await self._resolve(domain), self._family(domain), domain)

    async def _resolve(self, domain: str) -> Resolution:
        ordered = _redirection(domain)
        if ordered is not None:
            return await self._by_route([ordered])
        routing = self._routes.lookup(domain)
        if routing.way is Way.DROP:
            return Resolution((), _ROUTE_TTL_S, drop=True, routed=True)
        if routing.way is Way.HOSTS:
            return await self._by_route(routing.hosts)
        literal = literal_address(domain)
        if literal is not None:
            if literal in self._own_addresses:
                raise self._loops(domain)
            return Resolution((((Target(literal, literal, self._port),),),), _LITERAL_TTL_S)
        return await self._by_dns(domain, self._port)

    async def _by_route(self, hosts: Sequence[RouteHost]) -> Resolution:
        found = await asyncio.gather(*map(self._route_host, hosts), return_exceptions=True)
        by_priority: dict[int, list[tuple[Group, ...]]] = {}
        ttl_s = _ROUTE_TTL_S
        problem: BaseException | None = None
        for host, result in zip(hosts, found, strict=True):
            if isinstance(result, BaseException):
                problem = result
            else:
                by_priority.setdefault(host.priority, []).append(result[0])
                ttl_s = min(ttl_s, result[1])
        if by_priority:
            groups = [group for priority in sorted(by_priority) for group in _merged(by_priority[priority])]
            return Resolution(tuple(map(_ranked, range(len(groups)), groups)), ttl_s, routed=True)
        if isinstance(problem, BadDestination | NoDestination):
            raise NoDestination(problem.reason)
        assert problem is not None
        raise problem

    async def _route_host(self, host: RouteHost) -> tuple[tuple[Group, ...], float]:
        port = host.port or self._port
        if host.literal:
            return (((Target(host.name, host.name, port, host.priority),),),), _LITERAL_TTL_S
        if host.addresses_only:
            answer = await self._addresses(host.name)
            return ((_candidate(host.name, answer.records, port, host.priority),),), answer.ttl_s
        resolution = await self._by_dns(host.name, port)
        return resolution.groups, resolution.ttl_s

    async def _by_dns(self, domain: str, port: int) -> Resolution:
        try:
            answer = await self._resolver.mx(domain)
        except DnsError as problem:
            raise _failure(problem) from problem
        exchangers = answer.records
        if exchangers and all(one.host == "." for one in exchangers):
            detail = f"{domain} does not accept mail (null MX)"
            raise BadDestination("5.1.10", "Recipient address has null MX", "556", detail)
        if not exchangers:
            # RFC 5321 5.1: without MX the domain's own addresses are an MX of preference 0.
            exchangers = (Mx(0, domain.rstrip(".").lower()),)
        usable = self._before_us(domain, exchangers)
        return await self._exchangers(answer, usable, port)

    def _before_us(self, domain: str, exchangers: Sequence[Mx]) -> list[Mx]:
        """Leave out ourselves and all that are not preferred to us (RFC 5321 5.1)."""
        own = [one.preference for one in exchangers if one.host in self._own_names]
        limit = min(own, default=None)
        usable = [one for one in exchangers if one.host != "." and (limit is None or one.preference < limit)]
        if not usable:
            raise self._loops(domain)
        return usable[:_HOST_LIMIT]

    @staticmethod
    def _loops(domain: str) -> BadDestination:
        return BadDestination("5.4.6", "Routing loop detected", "000", f"mail for {domain} loops back to this host")

    async def _exchangers(self, answer: Answer[Mx], exchangers: Sequence[Mx], port: int) -> Resolution:
        lookups = [self._addresses(one.host) for one in exchangers]
        found = await asyncio.gather(*lookups, return_exceptions=True)
        limit = self._first_own(exchangers, found)
        by_preference: dict[int, list[Candidate]] = {}
        problems: list[BaseException] = []
        ttl_s, secure = answer.ttl_s, answer.secure
        for one, result in zip(exchangers, found, strict=True):
            if isinstance(result, BaseException):
                problems.append(result)
            elif limit is None or one.preference < limit:
                candidate = _candidate(one.host, result.records, port, one.preference)
                by_preference.setdefault(one.preference, []).append(candidate)
                ttl_s, secure = min(ttl_s, result.ttl_s), secure and result.secure
        if not by_preference:
            raise self._hopeless(exchangers[0].host, problems, looped=limit is not None)
        return Resolution(self._groups(by_preference), ttl_s, secure=secure, mx=answer.records)

    def _first_own(self, exchangers: Sequence[Mx], found: Sequence[Answer[str] | BaseException]) -> int | None:
        """Give the preference of the first exchanger whose address is ours."""
        return min(
            (
                one.preference
                for one, result in zip(exchangers, found, strict=True)
                if isinstance(result, Answer) and any(address in self._own_addresses for address in result.records)
            ),
            default=None,
        )

    def _groups(self, by_preference: dict[int, list[Candidate]]) -> tuple[Group, ...]:
        for candidates in by_preference.values():
            self._shuffle(candidates)
        return tuple(tuple(by_preference[preference]) for preference in sorted(by_preference))

    def _hopeless(self, host: str, problems: Sequence[BaseException], *, looped: bool) -> BaseException:
        """Choose what to say when no exchanger can be called: the temporary reason if there is one."""
        for problem in problems:
            if not isinstance(problem, BadDestination):
                return problem
        if looped:
            return self._loops(host)
        return problems[0]

    async def _addresses(self, host: str) -> Answer[str]:
        if literal_address(f"[{host}]") is not None:
            # An MX must name a host; some name an address (RFC 5321 5.1 does not allow it).
            detail = f"DNS Hard Error looking up {host} (A):  an address in place of a host name"
            raise BadDestination("5.1.2", "Bad destination host", "000", detail)
        try:
            return await self._resolver.addresses(host)
        except DnsError as problem:
            raise _failure(problem) from problem


def _merged(hosts: Sequence[tuple[Group, ...]]) -> tuple[Group, ...]:
    """Give the groups of a route's hosts of one priority: they take turns, each with all its exchangers in order."""
    if len(hosts) == 1:
        return hosts[0]
    return (tuple(tuple(Resolution(groups, 0.0).targets()) for groups in hosts),)


def _ranked(rank: int, group: Group) -> Group:
    """Make the rank of a route's group the preference of its targets: those of another group are no equals."""
    return tuple(tuple(replace(target, preference=rank) for target in candidate) for candidate in group)


def _turned(candidate: Candidate, turn: int) -> Candidate:
    """Rotate the addresses of each host, each family by itself."""
    turned: list[Target] = []
    for _, targets in groupby(candidate, key=lambda target: (target.host, ":" in target.address)):
        equal = list(targets)
        start = turn % len(equal)
        turned += equal[start:] + equal[:start]
    return tuple(turned)


def _redirection(name: str) -> RouteHost | None:
    """Read the queue's name for mail that an operator sent another way, `[HOST]:PORT`; None for any other name."""
    host, bracket, port = name.removeprefix("[").rpartition("]:")
    if not bracket or not name.startswith("[") or not port.isdecimal():
        return None
    try:
        literal = bool(ip_address(host))
    except ValueError:
        literal = False
    return RouteHost(host, int(port), literal=literal, addresses_only=not literal)


def _candidate(host: str, addresses: Sequence[str], port: int, preference: int) -> Candidate:
    return tuple(Target(host, address, port, preference) for address in addresses)


def _of_family(resolution: Resolution, family: Family, domain: str) -> Resolution:
    """Put the addresses of each host in the order of the family, without those that are not allowed."""
    groups = [
        tuple(kept for candidate in group if (kept := _ordered(candidate, family))) for group in resolution.groups
    ]
    left = tuple(group for group in groups if group)
    if groups and not left:
        raise NoDestination(f"{domain} has no address of the family that is allowed")
    return replace(resolution, groups=left)


def _ordered(candidate: Candidate, family: Family) -> Candidate:
    ordered: list[Target] = []
    for _, targets in groupby(candidate, key=lambda target: target.host):
        of_host = list(targets)
        six = [target for target in of_host if ":" in target.address]
        four = [target for target in of_host if ":" not in target.address]
        ordered += {"prefer-v6": six + four, "prefer-v4": four + six, "require-v6": six, "require-v4": four}[family]
    return tuple(ordered)


def _failure(problem: DnsError) -> BadDestination | NoDestination:
    where = f"looking up {problem.name} ({problem.kind}):  {problem.reason}"
    if isinstance(problem, DnsNotFound):
        return BadDestination("5.1.2", "Bad destination host", "000", f"DNS Hard Error {where}")
    return NoDestination(f"DNS Soft Error {where}", f"{problem.name} {problem.kind} - {problem.reason}")
