"""One destination's line: its ready parcels, its connections, whether its host answers, and its counts.

Used by the scheduler, which decides, and by the views, which only read. Knows no clock and no I/O. A destination that
only has mail in the index is some 800 octets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from core.record import HOLD_QUEUE
from mail.delivery.limit import Limits
from mail.queue.feedback import Window
from mail.queue.line import Line
from mail.queue.message import NEVER, Parcel
from mail.queue.wheel import ABSENT

REVIEW_S = 0.25
UNKNOWN_OPENINGS = 5
"""Connections being opened at a time to a host that nobody knows yet."""


class HostState(StrEnum):
    """What the last attempt to connect found."""

    UNKNOWN = "unknown"
    UP = "up"
    DOWN = "down"


@dataclass(slots=True)
class Counts:
    """Events of one destination since `resetcounters`, by the counter names of the status page."""

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
        "by_policy",
        "counts",
        "cursor",
        "down_until",
        "earliest",
        "failures",
        "full",
        "full_until",
        "hurt",
        "idle",
        "key",
        "last_5xx",
        "last_activity_at",
        "last_failure",
        "limits",
        "name",
        "open_after",
        "opening",
        "ordered",
        "pause_reason",
        "paused",
        "ready",
        "retrying",
        "review_at",
        "siblings",
        "slot",
        "state",
        "stored",
        "target",
        "wants",
        "window",
    )

    def __init__(self, name: str, target: str, limits: Limits) -> None:
        self.name, self.target = self.key = (name, target)
        self.limits = limits
        self.siblings: Sequence[Destination] = ()
        """The others of the same name: those of other virtual gateways."""
        self.ready = Line()
        self.hurt: dict[Parcel, None] = {}
        """Parcels in memory that wait because no connection came about."""
        self.idle: list[Any] = []
        """Slots of open connections without work; only the dispatcher knows what they are."""
        self.busy = self.opening = 0
        self.wants = 0
        """Connections for which it stands in line."""
        self.retrying = 0
        """Those of the connections being opened that ask a host that was down."""
        self.state = HostState.UNKNOWN
        self.window = Window()
        self.review_at = 0.0
        """When to look back on the window; 0 = no need."""
        self.failures = 0
        """Failed openings in a row."""
        self.paused = self.ordered = False
        """Whether an operator has suspended it, or had it tried while it was down (then its wait does not grow)."""
        self.down_until = 0.0
        self.by_policy = False
        """Whether the last failed opening was for a TLS policy: mail that wants none need not wait for the next."""
        self.open_after = 0.0
        """No further connection before this, for `pause_reason`."""
        self.pause_reason = ""
        self.full_until = 0.0
        """When it may get recipients again, its interval being used up."""
        self.full: dict[str, float] = {}
        """Until when an address of its hosts may get no more recipients, where limits are by address."""
        self.active = 0
        """Unfinished recipients, in memory and in the index."""
        self.attempted = 0
        """Those of them that were tried."""
        self.stored = 0
        """Those of them that are in the index only."""
        self.earliest = NEVER
        """No recipient in the index only is due before this."""
        self.cursor = 0
        """The sender after which the next load from the index begins."""
        self.asked = False
        """Whether a load was asked for and has not begun."""
        self.slot = ABSENT
        """Its place in the timer."""
        self.counts = Counts()
        self.last_activity_at = 0.0
        self.last_failure = ""
        self.last_5xx: dict[str, Any] | None = None

    @property
    def held(self) -> bool:
        """Whether nothing in it is ever attempted."""
        return self.name == HOLD_QUEUE

    @property
    def lines(self) -> int:
        """Open connections."""
        return self.busy + len(self.idle)

    @property
    def in_use(self) -> int:
        """Connections that count against its limit: its own, and those of its siblings if they share it."""
        own = self.busy + len(self.idle) + self.opening
        if self.siblings and not self.limits.per_gateway:
            own += sum(one.busy + len(one.idle) + one.opening for one in self.siblings)
        return own

    @property
    def most(self) -> int:
        """The most connections that the domain's limit lets this destination have by itself."""
        return NO_LIMIT if self.limits.per_address else self.limits.connections

    def blocked_until(self, now: float) -> float:
        """Give when attempts may go on; 0 = now."""
        if self.paused or self.name == HOLD_QUEUE:
            return NEVER
        until = self.full_until
        if self.state is HostState.DOWN and self.down_until > until:
            until = self.down_until
        return until if until > now else 0.0

    def wanted(self, now: float) -> int:
        """Give how many connections to open for what is ready, counting on those that are being opened."""
        return max(0, min(self.may_open(now), len(self.ready) - self.opening))

    def may_open(self, now: float) -> int:
        """Give how many more connections may be opened, few at a time where little is known of the host.

        A kept connection carries many messages: there are as many as the window allows, and the window grows
        only while what is ready would take long. Each is opened for a message, which bears the failure. A host that
        was down is asked with one connection; the rest follows when it answers.
        """
        if not self.ready or self.blocked_until(now) or self.open_after > now:
            return 0
        if self.state is HostState.DOWN:
            return 0 if self.opening or self.in_use >= self.most else 1
        most_opening = UNKNOWN_OPENINGS if self.state is HostState.UNKNOWN else max(5, self.lines)
        room = min(self.window.size - self.lines - self.opening, self.most - self.in_use)
        return max(0, min(room, most_opening - self.opening))

    def next_look(self, now: float) -> float:
        """Give when something about it changes by the clock alone; infinite if nothing does."""
        times = [self.review_at]
        if self.ready:
            times += (self.blocked_until(now), self.open_after)
        if self.stored and not self.asked:
            times.append(max(self.earliest, self.blocked_until(now)))
        return min((at for at in times if at > now), default=NEVER)

    def up(self) -> bool:
        """Note that a connection came about; true if the host was down before."""
        was_down = self.state is HostState.DOWN
        self.state = HostState.UP
        self.by_policy = self.ordered = False
        self.failures = 0
        self.down_until = self.open_after = 0.0
        return was_down

    def down(self, now: float, chance: float) -> None:
        """Note that no connection came about and none is open: nothing is tried before the retry time."""
        self.state = HostState.DOWN
        self.failures += not (self.ordered and self.failures)
        self.down_until = now + self.limits.profile.wait_s(self.failures, lambda: chance)

    def pause(self, until: float, reason: str) -> None:
        """Open no further connection for a while."""
        self.open_after = until
        self.pause_reason = reason


NO_LIMIT = 1_000_000
"""Where limits are by address, the courier keeps them."""
