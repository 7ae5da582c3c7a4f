"""When a recipient is tried again, when it is given up, and what its sender is told: the bounce profile.

Pure functions of counts and times, used by the queue's settlement, scheduler and reports. Source: behaviour 2.18
and 4.5.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Chance = Callable[[], float]
"""A number from 0 up to 1; `random.random`, or a constant in tests."""
Form = Literal["dsn", "plain", "off"]
Warned = Literal["off", "asked", "on"]
Automatic = Literal["all", "failures", "none"]

REVIEW_SLACK_S = 5.0
"""What is due for an attempt gets the attempt, if it can have one, before its age is looked at otherwise."""


@dataclass(frozen=True, slots=True)
class BounceProfile:
    """How long delivery is tried, and which reports are made how."""

    name: str = "Default"
    max_retries: int = 100
    """Attempts after the first."""
    max_in_queue_s: float = 259_200
    initial_retry_s: float = 60
    max_retry_s: float = 3_600
    hard_bounce: Form = "dsn"
    """How the sender is told of a failure: RFC 3464, plain text, or not at all."""
    delay_warnings: Warned = "asked"
    """Whether a sender is told that its mail waits: never, if NOTIFY asks for it, unless NOTIFY is against it."""
    delay_interval_s: float = 14_400
    delay_count: int = 1
    """Warnings about one recipient."""
    bounce_to: str = ""
    """Who gets failure reports, '' = the envelope sender."""
    delay_to: str = ""
    """Who gets delay warnings, '' = the envelope sender."""
    parse_status: bool = True
    """Whether the peer's enhanced code becomes the report's `Status`."""
    max_bounce_copy: int = 10 << 10
    max_full_copy: int = 1 << 20
    """The limit instead, where the sender asked for RET=FULL."""
    automatic: Automatic = "failures"
    """Which reports are made about mail of lists and programs: all, failures only, or none."""
    bounce_text: str = ""
    delay_text: str = ""
    success_text: str = ""
    """Names of texts, '' = the built-in one."""
    jitter: float = 0.1
    """Share of each wait that chance may take off, so that mail deferred together does not come back together."""
    implied: bool = False
    """Nobody chose it for the destination: the listener's choice comes first."""

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

    def warning_at(self, received_at: float, warned: int) -> float:
        """Give when the next delay warning is due after `warned` of them; infinite if there is none."""
        if self.delay_warnings == "off" or warned >= self.delay_count:
            return float("inf")
        return received_at + self.delay_interval_s * (warned + 1)

    def review_at(self, received_at: float, next_attempt_at: float, warned: int | None) -> float:
        """Give when the age of a recipient is to be looked at if it has had no attempt by then.

        `warned` is None where nobody wants a warning.
        """
        expires = max(received_at + self.max_in_queue_s, next_attempt_at)
        warning = float("inf") if warned is None else self.warning_at(received_at, warned)
        return min(expires, warning) + REVIEW_SLACK_S
