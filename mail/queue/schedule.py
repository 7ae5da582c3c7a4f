"""The scheduler: which parcel goes where next, and which connections that needs.

Everything here is synchronous and knows no socket: `plan` decides and gives the I/O to do, the dispatcher
(`mail/delivery/dispatch.py`) does it and comes back with `take` and `give_back`. The importer and the loader bring
parcels (`add`), the settlement puts failed ones to wait (`wait`), the clock calls `tick`.

Bounded: each destination has at most `ready_limit` parcels in line in memory, the rest are parked, leave memory at
the next checkpoint and come back through `due`. Nothing is logged.

Seams for the full engine: `Destination.wanted` is the concurrency policy, `Scheduler.take` the order within a
destination, `mail/queue/rule.py` the place where each further limit gets its words.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mail.queue.destination import REVIEW_S, Destination, Limits
from mail.queue.due import DueIndex
from mail.queue.message import NEVER, Parcel
from mail.queue.state import Reason, State
from mail.queue.wheel import Wheel


@dataclass(slots=True)
class Plan:
    """The I/O to do: parcels for idle connections, and connections to open, each for a parcel."""

    hand: list[tuple[Any, Parcel]] = field(default_factory=list)
    open: list[tuple[Destination, Parcel]] = field(default_factory=list)


class Scheduler:
    """All destinations of this machine."""

    def __init__(
        self,
        limits: Callable[[str], Limits],
        *,
        ready_limit: int = 1000,
        connections: int = 10_000,
    ) -> None:
        """`limits` gives what a destination name is granted."""
        self.destinations: dict[tuple[str, str], Destination] = {}
        self.stopped = ""
        """Why nothing is attempted at all; '' = attempts go on."""
        self.connections = 0
        self.due = DueIndex()
        self.came_up: Callable[[Destination], None] = lambda _destination: None
        """Called when a host that was down answers and the index holds mail for it."""
        self.plan_wanted: Callable[[], None] = lambda: None
        self._limits = limits
        self.expire: Callable[[Parcel], None] = lambda _parcel: None
        """Called with a parcel whose time in the queue is over."""
        self.ready_limit = ready_limit
        self.max_connections = connections
        self._stirred: dict[tuple[str, str], Destination] = {}
        self.lined: dict[tuple[str, str], Destination] = {}
        """Destinations with ready parcels, and some without."""
        self.waiting = Wheel()
        self._alarms: list[tuple[float, tuple[str, str]]] = []

    def destination(self, key: tuple[str, str]) -> Destination:
        """Give a destination, made at its first mention."""
        found = self.destinations.get(key)
        if found is None:
            found = self.destinations[key] = Destination(*key, self._limits(key[0]))
        return found

    # Parcels come and go

    def add(self, parcel: Parcel, now: float, *, loaded: bool = False) -> None:
        """Put a new parcel where it belongs: in line, to wait, or parked."""
        destination = self.destination(parcel.destination)
        if destination.held:
            parcel.next_attempt_at = NEVER
            parcel.move(Reason.HELD)
        elif parcel.next_attempt_at > now:
            parcel.move(Reason.NOT_DUE)
            self.waiting.put(parcel)
        elif not loaded and self._full(destination, now):
            parcel.move(Reason.READY_FULL)
        else:
            parcel.move(Reason.LOADED if loaded else Reason.IMPORTED)
            destination.ready.append(parcel)
            self.stir(destination)

    def _full(self, destination: Destination, now: float) -> bool:
        """Older mail that is in the index only has half of the room to itself."""
        limit = self.ready_limit // 2 if destination.earliest <= now else self.ready_limit
        return len(destination.ready) >= limit

    def take(self, destination: Destination, now: float) -> Parcel | None:
        """Give the next parcel to attempt now; those whose time is over are expired on the way."""
        if self.stopped or destination.blocked_until(now):
            return None
        ready = destination.ready
        while ready:
            parcel = ready.popleft()
            if destination.earliest <= now and len(ready) == self.ready_limit // 2:
                self.due.room(destination)
            if destination.limits.profile.expired(parcel.message.accepted.received_at, now):
                parcel.move(Reason.EXPIRED)
                self.expire(parcel)
                continue
            destination.taken += 1
            parcel.move(Reason.STARTED)
            return parcel
        if destination.earliest <= now:
            self.due.room(destination)
        return None

    def give_back(self, parcel: Parcel) -> None:
        """Put a parcel that was taken, and that the peer never saw, back at the head of its line."""
        parcel.move(Reason.RETURNED)
        destination = self.destinations[parcel.destination]
        destination.ready.appendleft(parcel)
        self.stir(destination)

    def withdraw(self, parcel: Parcel) -> None:
        """Take a parcel that is on no connection out of its line or out of its wait; its state stays."""
        if parcel.state is State.READY:
            self.destinations[parcel.destination].ready.remove(parcel)
        elif parcel.state is State.WAITING:
            self.waiting.discard(parcel)

    def wait(self, parcel: Parcel, until: float) -> None:
        """Let a parcel (already moved to WAITING) come back at a time."""
        parcel.next_attempt_at = until
        self.waiting.put(parcel)

    def forget(self, parcel: Parcel) -> None:
        """Let a parcel leave memory for the index (already moved to GONE)."""
        self.waiting.discard(parcel)
        destination = self.destinations[parcel.destination]
        destination.stored += len(parcel.recipients)
        self.due.note(destination, parcel.next_attempt_at)

    # Decisions

    def stir(self, destination: Destination) -> None:
        """Have the next plan look at a destination."""
        if not self._stirred:
            self.plan_wanted()
        self._stirred[destination.key] = destination
        if destination.ready:
            self.lined[destination.key] = destination

    def plan(self, now: float) -> Plan:
        """Decide for every destination where something changed."""
        plan = Plan()
        stirred, self._stirred = self._stirred, {}
        for destination in stirred.values():
            self._plan(destination, now, plan)
        return plan

    def _plan(self, destination: Destination, now: float, plan: Plan) -> None:
        while destination.idle and destination.ready:
            parcel = self.take(destination, now)
            if parcel is None:
                return
            plan.hand.append((destination.idle.pop(), parcel))
            destination.busy += 1
        for _ in range(min(destination.wanted(now), self.max_connections - self.connections)):
            parcel = self.take(destination, now)
            if parcel is None:
                return
            destination.opening += 1
            self.connections += 1
            plan.open.append((destination, parcel))
        if not destination.ready:
            return
        until = max(destination.blocked_until(now), destination.open_after)
        if until <= now and not destination.reviewing:
            destination.reviewing = True
            until = now + REVIEW_S
        if until > now:
            heapq.heappush(self._alarms, (until, destination.key))

    def tick(self, now: float) -> None:
        """Put in line what has become due, and look again at destinations whose pause is over."""
        for parcel in self.waiting.due(now):
            self.ready(parcel, Reason.DUE)
        while self._alarms and self._alarms[0][0] <= now:
            destination = self.destinations.get(heapq.heappop(self._alarms)[1])
            if destination is None:
                continue  # it had nothing to do, and was forgotten
            if destination.reviewing:
                destination.review()
            self.stir(destination)
        if not self.stopped:
            self.due.tick(now)

    def ready(self, parcel: Parcel, reason: Reason) -> None:
        """Put a parcel that waited (and is out of the wheel) in line."""
        parcel.move(reason)
        destination = self.destinations[parcel.destination]
        destination.ready.append(parcel)
        self.stir(destination)
