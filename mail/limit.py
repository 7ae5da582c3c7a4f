"""How many events one address has caused within the hour: recipients received, recipients refused.

Shared by all listeners of a process; the threshold belongs to whoever asks (behaviour 9.1). Memory is bounded: when
too many addresses are known, those whose window is over go, then the oldest.
"""

from typing import Final

from core import clock

WINDOW_S: Final = 3600.0
MAX_ADDRESSES: Final = 50_000


class HourlyCount:
    """Counts by address in windows of an hour that begin with the first event."""

    def __init__(self, monotonic: clock.Clock = clock.monotonic, max_addresses: int = MAX_ADDRESSES) -> None:
        self._monotonic = monotonic
        self._max = max_addresses
        self._counts: dict[str, tuple[float, int]] = {}

    def get(self, address: str) -> int:
        """Give the count of the running window."""
        began, count = self._counts.get(address, (0.0, 0))
        return count if count and self._monotonic() - began < WINDOW_S else 0

    def add(self, address: str) -> None:
        """Count one more event."""
        now = self._monotonic()
        began, count = self._counts.get(address, (now, 0))
        if now - began >= WINDOW_S:
            began, count = now, 0
            self._counts.pop(address, None)
        self._counts[address] = (began, count + 1)
        if len(self._counts) > self._max:
            self._shrink(now)

    def _shrink(self, now: float) -> None:
        live = [(key, value) for key, value in self._counts.items() if now - value[0] < WINDOW_S]
        self._counts = dict(live[-self._max // 2 :] if len(live) > self._max // 2 else live)
