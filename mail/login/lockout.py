"""Who has failed to log in too often: by user and by source, in bounded memory.

Kept by each gateway process for itself. A success does not clear what others tried, so a guesser with one account
of his own gains nothing. Knows no connection; logs nothing; raises nothing.
"""

import ipaddress
from typing import Final

from core import clock

MAX_KEYS: Final = 20_000
_NONE: Final = (0.0, 0.0, False)


class Lockout:
    """Failures by key, which leak away over a window; too many lock the key for the length of one."""

    def __init__(
        self, limit: int, window_s: float, *, monotonic: clock.Clock = clock.monotonic, max_keys: int = MAX_KEYS
    ) -> None:
        """`limit` 0 locks nobody."""
        self._limit = limit
        self._window_s = window_s
        self._monotonic = monotonic
        self._max = max_keys
        self._failures: dict[str, tuple[float, float, bool]] = {}
        """Level, the moment it was last changed, whether that locked; least recently changed first."""

    def locked(self, key: str) -> bool:
        """Say whether a key is locked now."""
        _, at, locked = self._failures.get(key, _NONE)
        return locked and self._monotonic() - at < self._window_s

    def fail(self, key: str) -> bool:
        """Count a failure; give True when it locks the key for the length of a window."""
        if not self._limit or self.locked(key):
            return False
        now = self._monotonic()
        level, at, _ = self._failures.pop(key, _NONE)
        level = max(0.0, level - self._limit * (now - at) / self._window_s) + 1
        locks = level > self._limit - 0.5  # a little has leaked away since the first
        self._failures[key] = (0.0 if locks else level, now, locks)
        if len(self._failures) > self._max:
            del self._failures[next(iter(self._failures))]
        return locks


def source_of(ip: str) -> str:
    """Give the key of an address: itself, or the /64 of an IPv6 address, which one host has all of."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return ip
    if address.version == 4:
        return ip
    return str(ipaddress.ip_network((address, 64), strict=False))
