"""How long the appliance waits before it dials again.

Three quick attempts, then full jitter under a bound that doubles up to `longest_s`. Only a tunnel that lasted
`healthy_s` makes the waits short again, so that one which opens and breaks does not spin. A wait that the bastion asked
for is kept, with a spread of its own: all appliances of a restarting bastion are told the same number. A refused login
waits longer than its penalty at the bastion lasts, or the next attempt would only hear that the bastion is busy, and
not so long that an enrolment goes unnoticed. Used by `client.py`.
"""

import random
from collections.abc import Callable

QUICK = 3
SPREAD = 0.5
"""A wait that was asked for grows by up to this part of itself …"""
MOST_SPREAD_S = 30.0
"""… and by no more than this."""

REFUSED_S, REFUSED_LONGEST_S = 20.0, 60.0


class Backoff:
    """Counts failures and gives waits."""

    def __init__(
        self,
        first_s: float,
        longest_s: float,
        healthy_s: float,
        *,
        pick: Callable[[float], float] = lambda top: random.uniform(0, top),  # noqa: S311 - spreads load only
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._healthy_s = healthy_s
        self._pick = pick
        self._asked_s = 0.0
        self._refusals = 0
        self.failures = 0

    def reset(self) -> None:
        """Begin anew: the next attempt is made at once."""
        self.failures = self._refusals = 0
        self._asked_s = 0.0

    def failed(self, asked_s: float = 0.0, *, refused: bool = False) -> None:
        """Count an attempt that led to nothing; asked_s is the wait that the bastion asked for, refused a login's."""
        self.failures += 1
        self._refusals = self._refusals + 1 if refused else 0
        self._asked_s = asked_s

    def lost(self, lasted_s: float, asked_s: float = 0.0) -> None:
        """Count the end of a tunnel that lasted so long."""
        self._refusals = 0
        self.failures = 1 if lasted_s >= self._healthy_s else self.failures + 1
        self._asked_s = asked_s

    def wait_s(self) -> float:
        """Give the wait before the next attempt; none before the first."""
        if self._asked_s:
            return self._asked_s + self._pick(min(self._asked_s * SPREAD, MOST_SPREAD_S))
        if self._refusals:
            longest_s = min(self._longest_s, REFUSED_LONGEST_S)
            least_s = min(REFUSED_S * self._refusals, longest_s)
            return least_s + self._pick(least_s * SPREAD)
        if self.failures == 0:
            return 0.0
        doublings = max(0, min(self.failures - QUICK, 30))
        return self._pick(min(self._longest_s, self._first_s * 2**doublings))
