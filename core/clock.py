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


class Steady:
    """A clock that nobody sets."""

    def __init__(self, wall: Clock = now, passed: Clock = monotonic) -> None:
        self._wall = wall
        self._passed = passed
        self._began = wall() - passed()

    def __call__(self) -> float:
        return self._began + self._passed()

    @property
    def set_by_s(self) -> float:
        """How much later the machine's clock is than this one, 0 if nobody set it."""
        by = self._wall() - self()
        return by if abs(by) >= _SET_S else 0.0

    def of(self, at: float) -> float:
        """Give a time that the machine's clock showed once: the latest it can have been, and not in the future.

        It may have been read before the clock was set or after. The age of mail is therefore never taken for more
        than it is; it may be taken for less, by as much as the clock was set forward or back.
        """
        by = self.set_by_s
        if not by:
            return at
        present = self()
        return max((one for one in (at, at - by) if one <= present), default=present)


steady = Steady()
