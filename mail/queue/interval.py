"""Recipients per interval: how many more a destination may get now, and when it may get more again.

The interval is fixed, not sliding: it begins with the first recipient after the last one ended, and lasts the
configured minutes. So in any span of that length a host never gets more than twice the limit, and an operator reads
"n of m, until T". A recipient counts when a connection takes it, and is given back if the peer never saw it.

Kept by domain, for all virtual gateways together, or for each of them, or for each address of the domain's hosts:
`Limits` says which. An interface group is one virtual gateway. Used by the scheduler; knows no
clock; lost at a restart.
"""

from typing import NamedTuple

from mail.delivery.limit import Limits
from mail.queue.destination import Destination

Key = tuple[str, str, str]
"""Domain, virtual gateway or '' for all, address or '' for all."""


class Interval:
    """One running interval."""

    __slots__ = ("until", "used")

    def __init__(self, until: float) -> None:
        self.used = 0
        self.until = until


class Grant(NamedTuple):
    """How many recipients may go now; and what an operator is told."""

    room: int
    used: int
    until: float


def key_of(destination: Destination, address: str) -> Key:
    """Say who shares the limit of a destination."""
    limits = destination.limits
    gateway = destination.target if limits.per_gateway else ""
    return (destination.name, gateway, address if limits.per_address else "")


class Intervals:
    """All running intervals; as many as there are domains with a limit that had mail in the last interval."""

    def __init__(self) -> None:
        self._running: dict[Key, Interval] = {}

    def grant(self, destination: Destination, now: float, address: str = "") -> Grant:
        """Say how many recipients a destination (at an address, where that matters) may get now."""
        limit = destination.limits.recipient_limit
        interval = self._running.get(key_of(destination, address))
        if interval is None or interval.until <= now:
            return Grant(limit, 0, now)
        return Grant(max(0, limit - interval.used), interval.used, interval.until)

    def use(self, destination: Destination, recipients: int, now: float, address: str = "") -> None:
        """Count recipients that a connection takes."""
        key = key_of(destination, address)
        interval = self._running.get(key)
        if interval is None or interval.until <= now:
            if len(self._running) >= 1024 and interval is None:
                self._sweep(now)
            interval = self._running[key] = Interval(now + 60 * _minutes(destination.limits))
        interval.used += recipients

    def refund(self, destination: Destination, recipients: int, address: str = "") -> None:
        """Give back what the peer never saw."""
        interval = self._running.get(key_of(destination, address))
        if interval is not None:
            interval.used = max(0, interval.used - recipients)

    def reset(self) -> None:
        """Begin all intervals anew, because an operator said so."""
        self._running.clear()

    def _sweep(self, now: float) -> None:
        """Let go of intervals that ended."""
        self._running = {key: one for key, one in self._running.items() if one.until > now}


def _minutes(limits: Limits) -> int:
    return limits.recipient_minutes or 60
