"""One destination's line: its ready parcels, its connections, whether its host answers, and its counts.

Used by the scheduler, which decides, and by the views, which only read. Knows no clock and no I/O.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.record import HOLD_QUEUE
from mail.queue.message import NEVER, Parcel
from mail.queue.retry import BounceProfile

WINDOW = 20
"""Connections to begin with."""
REVIEW_S = 0.25


class HostState(StrEnum):
    """What the last attempt to connect found."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a destination is granted."""

    connections: int = 500
    messages_per_connection: int = 50
    recipients_per_message: int = 1000
    profile: BounceProfile = field(default_factory=BounceProfile)
    recipient_limit: int = 0
    """Recipients in `recipient_minutes`, 0 = no limit."""
    recipient_minutes: int = 60
    per_address: bool = False
    """Whether connections and recipients are limited for each address of its hosts, not for the whole domain."""
    per_gateway: bool = False
    """Whether each virtual gateway has these limits for itself, not all together."""


@dataclass(slots=True)
class Counts:
    """Events of one destination since the daemon started, by the counter names of the status page."""

    soft_bounced_evts: int = 0
    delivered_recips: int = 0
    deleted_recips: int = 0
    hard: dict[str, int] = field(default_factory=dict)

    @property
    def hard_bounced_recips(self) -> int:
        """All kinds together."""
        return sum(self.hard.values())


class Destination:
    """Everything about one (name, target)."""

    __slots__ = (
        "active",
        "asked",
        "attempted",
        "busy",
        "counts",
        "down_until",
        "earliest",
        "failures",
        "idle",
        "last_5xx",
        "last_activity_at",
        "last_failure",
        "limits",
        "name",
        "open_after",
        "opening",
        "ready",
        "reviewing",
        "slow",
        "state",
        "stored",
        "taken",
        "target",
        "window",
    )

    def __init__(self, name: str, target: str, limits: Limits) -> None:
        self.name = name
        self.target = target
        self.limits = limits
        self.ready: deque[Parcel] = deque()
        self.idle: list[Any] = []
        """Slots of open connections without work; only the dispatcher knows what they are."""
        self.busy = 0
        self.opening = 0
        self.state = HostState.UNKNOWN
        self.window = WINDOW
        """Connections that may be open for now."""
        self.taken = 0
        """Messages taken since the last review."""
        self.slow = False
        """Whether, at its pace, what is ready takes seconds."""
        self.reviewing = False
        """Whether a review is due."""
        self.failures = 0
        """Failed openings in a row."""
        self.down_until = 0.0
        self.open_after = 0.0
        """No further connection before this, because the peer refused one while others were open."""
        self.active = 0
        """Unfinished recipients, in memory and in the index."""
        self.attempted = 0
        """Those of them that were tried."""
        self.stored = 0
        """Those of them that are in the index only."""
        self.earliest = NEVER
        """No recipient in the index only is due before this."""
        self.asked = False
        """Whether a load was asked for and has not begun."""
        self.counts = Counts()
        self.last_activity_at = 0.0
        self.last_failure = ""
        self.last_5xx: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Name and target."""
        return (self.name, self.target)

    @property
    def held(self) -> bool:
        """Whether nothing in it is ever attempted."""
        return self.name == HOLD_QUEUE

    @property
    def lines(self) -> int:
        """Open connections."""
        return self.busy + len(self.idle)

    def blocked_until(self, now: float) -> float:
        """Give when attempts may go on; 0 = now."""
        if self.held:
            return NEVER
        return self.down_until if self.state is HostState.DOWN and self.down_until > now else 0.0

    def wanted(self, now: float) -> int:
        """Give how many connections to open for what is ready, slowly where little is known of the host.

        A kept connection carries many messages: there are as many as the window allows, and the window grows
        only while what is ready would take long. Each is opened for a message, which bears the failure.
        """
        if not self.ready or self.blocked_until(now) or (self.open_after > now and self.lines):
            return 0
        if self.state is HostState.DOWN:
            return 1 - min(1, self.opening)
        most_opening = 5 if self.state is HostState.UNKNOWN else max(5, self.lines)
        room = min(self.window, self.limits.connections) - self.lines - self.opening
        return max(0, min(room, most_opening - self.opening, len(self.ready) - self.opening))

    def review(self) -> None:
        """Look back on the last `REVIEW_S`: widen the window if, at that pace, the rest takes over twice as long."""
        self.slow = len(self.ready) > 8 * self.taken
        if len(self.ready) > 2 * self.taken:
            self.window = min(2 * self.window, self.limits.connections)
        self.taken = 0
        self.reviewing = False

    def up(self) -> bool:
        """Note that a connection came about; true if the host was down before."""
        was_down = self.state is HostState.DOWN
        self.state = HostState.UP
        self.failures = 0
        self.down_until = 0.0
        return was_down

    def down(self, now: float, chance: float) -> None:
        """Note that no connection came about and none is open: nothing is tried before the retry time."""
        self.state = HostState.DOWN
        self.failures += 1
        self.down_until = now + self.limits.profile.wait_s(self.failures, lambda: chance)
