"""The host name of an address, doubly verified: the name that its PTR record gives must lead back to it.

Asked by the SMTP listeners before their greeting (core/smtp/connection.py), where a listener needs names. What was
found is kept, within bounds, so that the next connection of the same host waits for nothing. Never raises: who cannot
be looked up in time has no name.
"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, NamedTuple

from core import clock
from core.dns import Answer, DnsError, DnsTemporary, Resolver

KEPT: Final = 10_000
NAMES: Final = 5
"""Names of one address that are verified; hosts with more than one are rare, with more than five nobody's business."""
_SHORTEST_S: Final = 60.0
_LONGEST_S: Final = 3600.0
_FAILED_S: Final = 30.0


class ReverseName(NamedTuple):
    """A name and whether it was verified; unverified it is for the log only."""

    name: str
    verified: bool


UNKNOWN: Final = ReverseName("", False)


class ReverseNames:
    """Finds and keeps names. `timeout_s` is for all questions about one address together."""

    def __init__(
        self,
        resolver: Resolver,
        *,
        timeout_s: float,
        kept: int = KEPT,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._kept = kept
        self._monotonic = monotonic
        self._found: dict[str, tuple[float, ReverseName]] = {}
        self._flushes = resolver.flushes

    def known(self, host: str) -> ReverseName | None:
        """Give what is known of an address, None if it would have to be asked; nobody is asked where that is off."""
        if not self._resolver.reverse_timeout_s:
            return UNKNOWN
        if self._flushes != self._resolver.flushes:
            self._flushes = self._resolver.flushes
            self._found.clear()
        kept = self._found.get(host)
        return kept[1] if kept is not None and kept[0] > self._monotonic() else None

    async def find(self, host: str) -> ReverseName:
        """Find the name of an address, within the time-out."""
        known = self.known(host)
        if known is not None:
            return known
        found, life_s = UNKNOWN, _FAILED_S
        try:
            async with asyncio.timeout(min(self._timeout_s, self._resolver.reverse_timeout_s)):
                found, life_s = await self._ask(host)
        except TimeoutError:
            pass
        except DnsTemporary:
            pass
        except (DnsError, ValueError):
            life_s = _LONGEST_S / 12
        self._keep(host, found, life_s)
        return found

    async def _ask(self, host: str) -> tuple[ReverseName, float]:
        claimed = await self._resolver.ptr(host)
        address = ip_address(host)
        for name in claimed.records[:NAMES]:
            back = await self._lead(name)
            if any(ip_address(one) == address for one in back.records):
                return ReverseName(name, True), min(claimed.ttl_s, back.ttl_s)
        return ReverseName(claimed.records[0], False) if claimed.records else UNKNOWN, claimed.ttl_s

    async def _lead(self, name: str) -> Answer[str]:
        try:
            return await self._resolver.addresses(name)
        except DnsError:
            return Answer((), _SHORTEST_S)

    def _keep(self, host: str, found: ReverseName, life_s: float) -> None:
        self._found.pop(host, None)
        while len(self._found) >= self._kept:
            del self._found[next(iter(self._found))]
        bounded = life_s if life_s == _FAILED_S else min(max(life_s, _SHORTEST_S), _LONGEST_S)
        self._found[host] = (self._monotonic() + bounded, found)
