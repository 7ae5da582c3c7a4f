"""The clocks, in one place so that a test can hand in another.

`now` is UNIX time in seconds for what is stored or shown (`*_at`); `monotonic` is for what is measured
(`*_s`) and never goes backwards. `steady` is for what is planned: UNIX time as it was when the process began, and what
has passed since. Whoever sets the machine's clock does not move it, so nothing that waits is late by a day, or due a
day early; a time of another process is brought to it by `Steady.of`.
"""

import time
from collections.abc import Callable

Clock = Callable[[], float]

now: Clock = time.time
monotonic: Clock = time.monotonic
_SET_S = 60.0
"""Less than this is drift and rounding; more, and somebody set the clock."""
_SETTINGS_KNOWN = 16


class Steady:
    """A clock that nobody sets."""

    def __init__(self, wall: Clock = now, passed: Clock = monotonic) -> None:
        self._wall = wall
        self._passed = passed
        self._began = wall() - passed()
        self._set_by: tuple[float, ...] = (0.0,)
        """How much later the machine's clock was than this one, at any time since the beginning; the latest first."""

    def __call__(self) -> float:
        at = self._began + self._passed()
        by = self._wall() - at
        if abs(by - self._set_by[0]) >= _SET_S:
            before = (one for one in self._set_by if abs(one - by) >= _SET_S)
            self._set_by = (by, *before)[:_SETTINGS_KNOWN]
        return at

    @property
    def set_by_s(self) -> float:
        """How much later the machine's clock is than this one, 0 if nobody set it."""
        by = self._wall() - self()
        return by if abs(by) >= _SET_S else 0.0

    def of(self, at: float) -> float:
        """Give a time that the machine's clock showed once: the latest it can have been, and not in the future.

        It may have been read before the clock was set or after, and between two settings. The age of mail is therefore
        never taken for more than it is; it may be taken for less, by as much as the clock was set forward or back.
        """
        present = self()
        if len(self._set_by) == 1:
            return at
        possible = (at - by for by in self._set_by)
        return min(present, max((one for one in possible if one <= present + _SET_S), default=present))


steady = Steady()
