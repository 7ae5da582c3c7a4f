"""When a recipient is tried again and when it is given up: the bounce profile as arithmetic.

Pure functions of counts and times, used by the queue's settlement and scheduler. Source: behaviour 2.18 and 4.5.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

Chance = Callable[[], float]
"""A number from 0 up to 1; `random.random`, or a constant in tests."""


@dataclass(frozen=True, slots=True)
class BounceProfile:
    """How long delivery is tried."""

    name: str = "Default"
    max_retries: int = 100
    """Attempts after the first."""
    max_in_queue_s: float = 259_200
    initial_retry_s: float = 60
    max_retry_s: float = 3_600
    hard_bounce: bool = True
    """Whether the sender is told."""
    max_bounce_copy: int = 10 << 10
    jitter: float = 0.1
    """Share of each wait that chance may take off, so that mail deferred together does not come back together."""

    def wait_s(self, failures: int, chance: Chance = random.random) -> float:
        """Give the wait after the `failures`-th failure in a row: doubled each time up to the longest."""
        wait = min(self.initial_retry_s * 2.0 ** min(failures - 1, 30), self.max_retry_s)
        return wait * (1 - self.jitter * chance())

    def spent(self, attempts: int) -> bool:
        """Tell, right after a failed attempt, whether it was the last one."""
        return attempts > self.max_retries

    def expired(self, received_at: float, now: float) -> bool:
        """Tell, right before an attempt, whether the time in the queue is over."""
        return now - received_at > self.max_in_queue_s
