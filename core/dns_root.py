"""From the root servers of the Internet down to those that know a name (RFC 1034 5.3.3), for machines that are to ask
no resolver.

Used by core/dns.py, which sends the questions and keeps the answers. What leads to a zone is kept here, within bounds.
Addresses that come along are believed only within the zone that was asked (RFC 5452 6). Nothing is validated. Raises
`Astray` where the way leads nowhere, and what sending raises.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from core import clock
from core.name_server import NameServer

HINTS: Final = (
    *("198.41.0.4", "170.247.170.2", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241", "192.112.36.4"),
    *("198.97.190.53", "192.36.148.17", "192.58.128.30", "193.0.14.129", "199.7.83.42", "202.12.27.33"),
)
"""IPv4 addresses of the thirteen, a to m."""
_STEPS: Final = 40
"""Questions that one name may cost, those for its servers' addresses with it."""
_DEPTH: Final = 4
_SERVERS: Final = 6
_ZONES: Final = 5_000
_LONGEST_S: Final = 86_400.0

Send = Callable[[dns.message.QueryMessage, Sequence[NameServer]], Awaitable[dns.message.QueryMessage]]
"""Gives the first answer of any of the servers."""


class Astray(Exception):
    """Nobody on the way knows, or the way has no end."""


class Descent:
    """The way down, and the zones that were passed."""

    def __init__(
        self,
        send: Send,
        *,
        hints: Sequence[str] = HINTS,
        port: int = 53,
        monotonic: clock.Clock = clock.monotonic,
    ) -> None:
        self._send = send
        self._port = port
        self._monotonic = monotonic
        self._hints = [NameServer(host, port) for host in hints]
        self._zones: dict[dns.name.Name, tuple[float, list[NameServer]]] = {}

    def flush(self) -> None:
        """Forget the zones."""
        self._zones.clear()

    async def find(self, name: dns.name.Name, kind: str) -> dns.message.QueryMessage:
        """Give the answer of a server that is responsible for a name."""
        return await self._find(name, kind, [_STEPS], _DEPTH)

    async def _find(self, name: dns.name.Name, kind: str, left: list[int], depth: int) -> dns.message.QueryMessage:
        zone, servers = self._nearest(name)
        while left[0] > 0:
            left[0] -= 1
            response = await self._send(_question(name, kind), servers)
            if response.answer or response.rcode() != dns.rcode.NOERROR:
                return response
            below = _delegation(response, name, zone)
            if below is None:
                if response.flags & dns.flags.AA:
                    return response
                raise Astray(f"the servers of {zone} do not know it")
            found = self._glue(response, below, zone) or await self._addresses(below, left, depth)
            if not found:
                raise Astray(f"no server of {below.name} has an address")
            zone, servers = below.name, found
            self._keep(zone, servers, float(below.ttl))
        raise Astray("too many steps")

    def _nearest(self, name: dns.name.Name) -> tuple[dns.name.Name, list[NameServer]]:
        now = self._monotonic()
        while name != dns.name.root:
            kept = self._zones.get(name)
            if kept is not None and kept[0] > now:
                return name, kept[1]
            name = name.parent()
        return dns.name.root, self._hints

    def _keep(self, zone: dns.name.Name, servers: list[NameServer], ttl_s: float) -> None:
        self._zones.pop(zone, None)
        while len(self._zones) >= _ZONES:
            del self._zones[next(iter(self._zones))]
        self._zones[zone] = (self._monotonic() + min(ttl_s, _LONGEST_S), servers)

    def _glue(
        self, response: dns.message.QueryMessage, below: dns.rrset.RRset, zone: dns.name.Name
    ) -> list[NameServer]:
        """Give the addresses that came along, IPv4 first."""
        wanted = {one.target for one in below if one.target.is_subdomain(zone)}
        found = [one for one in response.additional if one.name in wanted]
        hosts = [row.address for kind in ("A", "AAAA") for one in found if _is(one, kind) for row in one]
        return [NameServer(host, self._port) for host in hosts[:_SERVERS]]

    async def _addresses(self, below: dns.rrset.RRset, left: list[int], depth: int) -> list[NameServer]:
        if not depth:
            raise Astray("servers whose addresses lead to servers whose addresses …")
        for one in list(below)[:_SERVERS]:
            try:
                response = await self._find(one.target, "A", left, depth - 1)
            except Astray:
                continue
            hosts = [row.address for rows in response.answer if _is(rows, "A") for row in rows]
            if hosts:
                return [NameServer(host, self._port) for host in hosts[:_SERVERS]]
        return []


def _question(name: dns.name.Name, kind: str) -> dns.message.QueryMessage:
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    query.flags &= ~dns.flags.RD
    return query


def _delegation(response: dns.message.QueryMessage, name: dns.name.Name, zone: dns.name.Name) -> dns.rrset.RRset | None:
    """Give the servers of a zone nearer to the name, if that is what the answer says."""
    for rows in response.authority:
        if _is(rows, "NS") and rows.name != zone and rows.name.is_subdomain(zone) and name.is_subdomain(rows.name):
            return rows
    return None


def _is(rows: dns.rrset.RRset, kind: str) -> bool:
    return rows.rdtype == dns.rdatatype.from_text(kind)
