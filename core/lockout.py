"""Who has failed to log in too often: by user and by source, in bounded memory.

Failures leak away over a window; too many lock the key, the first time for one window, then for twice that and so on
where a longer lock is allowed. A success does not clear what others tried, so a guesser with one account of his own
gains nothing. `mail/login/` keeps one in each gateway process, `ops/access/` writes its own down with `rows`.
Knows no connection; logs nothing; raises nothing.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from core import clock

MAX_KEYS: Final = 20_000
_MOST_DOUBLINGS: Final = 20


@dataclass(frozen=True, slots=True)
class Standing:
    """What is kept of one key; times are those of the lockout's clock."""

    level: float = 0.0
    """Failures that have not leaked away."""
    at: float = 0.0
    """The moment it was last changed."""
    until: float = 0.0
    """The end of its last lock."""
    locks: int = 0
    """Locks so far; forgotten after a quiet time as long as the longest lock."""


_NONE: Final = Standing()


class Lockout:
    """Failures by key."""

    def __init__(
        self,
        limit: int,
        window_s: float,
        *,
        longest_s: float = 0.0,
        time: clock.Clock = clock.monotonic,
        max_keys: int = MAX_KEYS,
    ) -> None:
        """`limit` 0 locks nobody; locks grow up to `longest_s`."""
        self._limit = limit
        self._window_s = window_s
        self._longest_s = max(longest_s, window_s)
        self._time = time
        self._max = max_keys
        self._standings: dict[str, Standing] = {}
        """Least recently changed first."""

    def locked(self, key: str) -> bool:
        """Say whether a key is locked now."""
        return self.left_s(key) > 0

    def left_s(self, key: str) -> float:
        """Give how long a key is locked still, 0 if it is not."""
        # A clock that was set back keeps nobody out for longer than the longest lock.
        return min(max(0.0, self._standings.get(key, _NONE).until - self._time()), self._longest_s)

    def failures(self, key: str) -> float:
        """Give how many failures have not leaked away."""
        standing = self._standings.get(key, _NONE)
        return max(0.0, standing.level - self._limit * max(0.0, self._time() - standing.at) / self._window_s)

    def fail(self, key: str) -> bool:
        """Count a failure; give True when it locks the key."""
        if not self._limit or self.locked(key):
            return False
        now, level = self._time(), self.failures(key) + 1
        standing = self._standings.pop(key, _NONE)
        locks = level > self._limit - 0.5  # a little has leaked away since the first
        self._standings[key] = self._lock(standing, now) if locks else replace(standing, level=level, at=now)
        if len(self._standings) > self._max:
            del self._standings[next(iter(self._standings))]
        return locks

    def _lock(self, standing: Standing, now: float) -> Standing:
        before = 0 if now - standing.until > self._longest_s else standing.locks
        length = min(self._window_s * 2 ** min(before, _MOST_DOUBLINGS), self._longest_s)
        return Standing(0.0, now, now + length, before + 1)

    def forget(self, key: str) -> bool:
        """Unlock a key and forget its failures; give whether there were any."""
        return self._standings.pop(key, None) is not None

    def rows(self) -> list[tuple[str, Standing]]:
        """Give every key that something is kept of, least recently changed first."""
        return list(self._standings.items())

    def put(self, rows: Iterable[tuple[str, Standing]]) -> None:
        """Take what was kept before."""
        self._standings.update(rows)


def source_of(ip: str) -> str:
    """Give the key of an address: itself, or the /64 of an IPv6 address, which one host has all of."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return ip
