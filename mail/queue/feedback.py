"""How many connections a destination may have: what it is known to bear, and what its mail needs.

Two forces on one number, the window. *Need* widens it: it doubles while, at the pace of the last moments, what is ready
would take over twice as long; it never grows while connections keep up. *Feedback* narrows it: each refused connection
or failed handshake counts, replies to recipients never do. Once a host has refused, need alone widens it no more: then
connections that come about earn a step, 1/sqrt(N) each.

Hysteresis, as Postfix's scheduler has it: a run of successes counts when a whole step is earned, at its *end*; the
first failure takes a step at once, at the *start* of its run, and the next ones only after as many failures as make a
step again. So a host that lets in L connections is asked for L + 1 seldom, and a single refusal costs one step.
The share of a cohort that failed (1/N each) says when the host is down: a whole cohort, with nothing between.

Used by `Destination` and `mail/queue/connection.py`; knows no clock, no I/O. Simulated in
`tests/unit/mail/queue/test_feedback.py`, where the share of refused connections is measured.
"""

from collections.abc import Callable
from math import sqrt

START = 20
"""Connections to begin with."""
FORGET_S = 600.0
"""A host that has refused nothing for this long is trusted again."""

Step = Callable[[int], float]
"""What one event is worth at a window of N."""


def by_root(size: int) -> float:
    """Give 1/sqrt(N)."""
    return 1 / sqrt(size)


class Window:
    """The connections that one destination may have open at a time."""

    __slots__ = ("_failure", "_success", "cohorts", "refused_at", "size", "slow", "taken")

    def __init__(self) -> None:
        self.size = START
        self.cohorts = 0.0
        """Failed cohorts in a row; 1 = the host is down."""
        self.refused_at = 0.0
        """When the host last refused a connection while others were open; 0 = it never did."""
        self.taken = 0
        """Messages taken since the last review."""
        self.slow = False
        """Whether, at its pace, what is ready takes seconds."""
        self._success = 0.0
        self._failure = 0.0

    def succeeded(self, in_use: int, most: int, step: Step = by_root) -> None:
        """Count a connection that came about; `in_use` with it, open or being opened."""
        self.cohorts = 0.0
        if not self.refused_at:
            return
        self._success += step(self.size)
        while self._success >= 1:
            self._success -= 1
            self._failure = 0.0
            if self.size <= in_use:  # what is granted already is not used up: nobody needs more
                self.size = min(self.size + 1, most)

    def failed(self, in_use: int, now: float, step: Step = by_root, *, others: bool = True) -> bool:
        """Count a connection that did not come about; true if the host is down. `in_use` counts it in.

        With `others` open the host is up and says that these are enough.
        """
        if not others:
            self.cohorts += 1 / max(1, in_use)
            return self.cohorts >= 0.999
        self.refused_at = now
        self.size = max(1, min(self.size, in_use))
        self._failure -= step(self.size)
        while self._failure < 0:
            self._failure += 1
            self._success = 0.0
            self.size = max(1, self.size - 1)
        return False

    def review(self, ready: int, most: int, now: float) -> None:
        """Look back on the last moments: widen the window if, at that pace, the rest takes over twice as long."""
        self.slow = ready > 8 * self.taken
        if self.refused_at and now - self.refused_at > FORGET_S:
            self.refused_at = 0.0
        if ready > 2 * self.taken and not self.refused_at:
            self.size = min(2 * self.size, most)
        self.taken = 0

    def rest(self) -> None:
        """Begin small again after the last connection was closed; what was learned of the host stays."""
        self.size = min(self.size, START)
        self._success = self._failure = 0.0
