"""The scheduler: which parcel stands in whose line, which waits, and which is next.

Everything here is synchronous and knows no socket. The importer and the loader bring parcels (`add`), the settlement
puts failed ones to wait (`wait`), the clock calls `tick`; `mail/queue/plan.py` decides about connections, the
dispatcher (`mail/queue/dispatch.py`) does the I/O and comes back with `take` and `give_back`.

Bounded: each destination has at most `2 * ready_limit` parcels in line in memory, those whose hosts are not known to be
up `cold_limit` together; the rest are parked, leave memory at the next checkpoint and come back through `due`. What is
due later is in one timer (`wheel`), at most one entry for each parcel in memory and for each destination. The order
within a destination is that of `mail/queue/line.py`. Nothing is logged.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import cast

from mail.delivery.limit import Limits
from mail.queue.destination import Destination, HostState
from mail.queue.due import DueIndex
from mail.queue.interval import Intervals
from mail.queue.message import NEVER, Parcel
from mail.queue.state import Reason, State
from mail.queue.wheel import Wheel

SOON_S = 10.0
"""What is due within this stays in memory."""


def _expired(parcel: Parcel, destination: Destination, now: float) -> bool:
    return destination.limits.profile.expired(parcel.message.received_at, now)


class Scheduler:
    """All destinations of this machine."""

    def __init__(
        self,
        limits: Callable[[str], Limits],
        *,
        ready_limit: int = 1000,
        connections: int = 10_000,
        cold_limit: int = 5000,
    ) -> None:
        """`limits` gives what a destination name is granted; `cold_limit` bounds what stands in line for hosts that
        are not known to be up, and the connections being opened to them."""
        self.destinations: dict[tuple[str, str], Destination] = {}
        self.by_name: dict[str, list[Destination]] = {}
        self.stopped = ""
        """Why nothing is attempted at all; '' = attempts go on."""
        self.suspended: set[str] = set()
        """Destination names that an operator has suspended; changed by `mail/queue/rule.py`."""
        self.connections = 0
        """Connections open or being opened."""
        self.retrying = 0
        """Those being opened to hosts that were down."""
        self.served = 0
        """Destinations with open connections."""
        self.hungry: OrderedDict[tuple[str, str], Destination] = OrderedDict()
        """Destinations that want a connection, in turn; `mail/queue/plan.py` keeps it."""
        self.hungry_down: OrderedDict[tuple[str, str], Destination] = OrderedDict()
        """Those of them whose hosts were down."""
        self.stirred: dict[tuple[str, str], Destination] = {}
        """Destinations for the next plan to look at."""
        self.lined: dict[tuple[str, str], Destination] = {}
        """Destinations with ready parcels, and some without."""
        self.wheel: Wheel[Parcel | Destination] = Wheel()
        self.due = DueIndex(cast("Wheel[Destination]", self.wheel), ready_limit)
        self.intervals = Intervals()
        self.wake: Callable[[Destination, bool], None] = lambda _destination, _host_level: None
        """Called to have what waits in the index for a destination tried now; if true, what waits for its host only."""
        self.plan_wanted: Callable[[], None] = lambda: None
        self.expire: Callable[[Parcel], None] = lambda _parcel: None
        """Called with a parcel whose time in the queue is over."""
        self.filtered: Callable[[Parcel], None] = lambda _parcel: None
        """Called with a parcel that a filter bounced instead of putting it in line."""
        self.expired: Callable[[Parcel, Destination, float], bool] = _expired
        self.ready_limit = ready_limit
        self.max_connections = connections
        self.cold_limit = cold_limit
        self._limits = limits
        self.cold = 0
        """About how many parcels stand in line for hosts that are not known to be up."""

    def destination(self, key: tuple[str, str]) -> Destination:
        """Give a destination, made at its first mention."""
        found = self.destinations.get(key)
        if found is None:
            found = self.destinations[key] = Destination(*key, self._limits(key[0]))
            found.paused = found.name in self.suspended
            same = self.by_name.setdefault(found.name, [])
            for one in same:
                one.siblings = (*one.siblings, found)
            found.siblings = tuple(same)
            same.append(found)
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
            self.wait(parcel, parcel.next_attempt_at)
        elif loaded:
            parcel.move(Reason.LOADED)
            self._line_up(parcel, destination)
        elif (reason := self._parked(parcel, destination, now)) is not None:
            parcel.move(reason)
        else:
            parcel.move(Reason.IMPORTED)
            self._line_up(parcel, destination)

    def _line_up(self, parcel: Parcel, destination: Destination) -> None:
        if parcel.outcome.verdict == "bounce":
            # It came back from the index, or waited since its bounce could not be recorded: the filter's word counts.
            self.filtered(parcel)
            return
        if destination.by_policy and parcel.accepted.require_tls == "no":
            # RFC 8689 5: the policy that the host fails does not bind this message. It is next, and at once.
            destination.ready.appendleft(parcel)
            destination.down_until = 0.0
        else:
            destination.ready.append(parcel)
        if destination.state is not HostState.UP:
            self.cold += 1
        self.stir(destination)

    def _parked(self, parcel: Parcel, destination: Destination, now: float) -> Reason | None:
        """Say why a new parcel goes to the index at once; None if it stands in line.

        A full line still takes senders that have little in it. Older mail that is in the index only has half of the
        room to itself.
        """
        if destination.by_policy and parcel.accepted.require_tls == "no" and not self.stopped:
            return None if len(destination.ready) < self.ready_limit else Reason.READY_FULL
        if self.stopped or destination.blocked_until(now) > now + SOON_S:
            return Reason.BLOCKED
        if destination.state is not HostState.UP and self._too_cold(destination):
            return Reason.READY_FULL
        limit = self.ready_limit // 2 if destination.earliest <= now else self.ready_limit
        ready = len(destination.ready)
        if ready < limit:
            return None
        own, senders = destination.ready.share(parcel.sender)
        return None if ready < 2 * limit and own < limit // senders else Reason.READY_FULL

    def _too_cold(self, destination: Destination) -> bool:
        """Tell whether the index is the place for new mail to a host that is not known to be up.

        A host that was down is tried with one parcel, and such hosts together leave room for those that nobody knows.
        """
        if destination.state is HostState.UNKNOWN:
            return self.cold >= self.cold_limit
        probed = destination.ready or destination.opening or destination.stored
        return bool(probed) or self.cold >= self.cold_limit // 2

    def take(self, destination: Destination, now: float, address: str | None = None) -> Parcel | None:
        """Give the next parcel to attempt now; those whose time is over are expired on the way.

        `address` is the peer's, where it is known: limits by address are kept for it. A parcel with more recipients
        than the interval has left is divided.
        """
        if self.stopped or destination.blocked_until(now):
            return None
        line = destination.ready
        limited = destination.limits.recipient_limit
        room = self._room(destination, now, address) if limited else 0
        parcel = None
        while line and (room or not limited):
            parcel = line.popleft()
            self.cold -= destination.state is not HostState.UP
            if not self.expired(parcel, destination, now):
                destination.window.taken += 1
                parcel.move(Reason.STARTED)
                if limited:
                    self._count(parcel, destination, room, now, address)
                break
            parcel.move(Reason.EXPIRED)
            self.expire(parcel)
            parcel = None
        if destination.earliest <= now:
            self.due.look(destination, now)
        return parcel

    def _room(self, destination: Destination, now: float, address: str | None) -> int:
        """Give how many recipients the interval has left; a full one blocks, and its end is an alarm."""
        if destination.limits.per_address and address is None:
            return destination.limits.recipient_limit
        grant = self.intervals.grant(destination, now, address or "")
        if not grant.room:
            if destination.limits.per_address:
                destination.full[address or ""] = grant.until
            else:
                destination.full_until = grant.until
                self.wheel.put_early(destination, grant.until)
        return grant.room

    def _count(self, parcel: Parcel, destination: Destination, room: int, now: float, address: str | None) -> None:
        """Count a parcel against the interval; what is too much of it stays in line."""
        if len(parcel.recipients) > room:
            rest = parcel.split(parcel.recipients[room:])
            rest.move(Reason.REST)
            destination.ready.appendleft(rest)
        if address is not None or not destination.limits.per_address:
            self.intervals.use(destination, len(parcel.recipients), now, address or "")

    def give_back(self, parcel: Parcel, address: str | None = None) -> None:
        """Put a parcel that was taken, and that the peer never saw, back at the head of its line."""
        parcel.move(Reason.RETURNED)
        destination = self.destinations[parcel.destination]
        if destination.limits.recipient_limit:
            self.intervals.refund(destination, len(parcel.recipients), address or "")
        destination.ready.appendleft(parcel)
        self.stir(destination)

    def withdraw(self, parcel: Parcel) -> None:
        """Take a parcel that is on no connection out of its line or out of its wait; its state stays."""
        if parcel.state is State.READY:
            destination = self.destinations[parcel.destination]
            destination.ready.remove(parcel)
            self.stir(destination)
        elif parcel.state is State.WAITING:
            self._wait_ends(parcel)

    def wait(self, parcel: Parcel, until: float) -> None:
        """Let a parcel (already moved to WAITING) come back at a time."""
        parcel.next_attempt_at = until
        self.wheel.put(parcel, until)
        if parcel.host_level:
            self.destinations[parcel.destination].hurt[parcel] = None

    def _wait_ends(self, parcel: Parcel) -> Destination:
        destination = self.destinations[parcel.destination]
        self.wheel.discard(parcel)
        destination.hurt.pop(parcel, None)
        return destination

    def forget(self, parcel: Parcel) -> None:
        """Let a parcel leave memory for the index (already moved to GONE)."""
        destination = self._wait_ends(parcel)
        destination.stored += len(parcel.recipients)
        self.due.note(destination, parcel.next_attempt_at)

    def ready(self, parcel: Parcel, reason: Reason) -> None:
        """Put a parcel that waited in line."""
        destination = self._wait_ends(parcel)
        parcel.move(reason)
        self._line_up(parcel, destination)

    # The clock

    def stir(self, destination: Destination) -> None:
        """Have the next plan look at a destination."""
        if not self.stirred:
            self.plan_wanted()
        self.stirred[destination.key] = destination
        if destination.ready:
            self.lined[destination.key] = destination

    def tick(self, now: float, most: float = NEVER) -> bool:
        """Put in line what has become due, and look again at destinations whose pause is over.

        Looks at `most` things; true if there may be more.
        """
        count = 0
        for thing in self.wheel.due(now, most):
            count += 1
            if isinstance(thing, Parcel):
                self.ready(thing, Reason.DUE)
                continue
            if self.destinations.get(thing.key) is not thing:
                continue  # it had nothing to do, and was forgotten
            if thing.review_at and thing.review_at <= now:
                thing.review_at = 0.0
                thing.window.review(len(thing.ready), thing.most, now)
            if thing.full:
                thing.full = {address: until for address, until in thing.full.items() if until > now}
            if thing.ready:
                self.stir(thing)
            look(self, thing, now)
        return count == most


def look(scheduler: Scheduler, destination: Destination, now: float) -> None:
    """Load for a destination if that is due, else have the timer come when anything about it may change."""
    if not scheduler.stopped:
        scheduler.due.look(destination, now)
    at = destination.next_look(now)
    if at < NEVER:
        scheduler.wheel.put_early(destination, at)


def recount(scheduler: Scheduler) -> None:
    """Count what stands in line for hosts not known to be up; called about once a second."""
    scheduler.lined = {key: one for key, one in scheduler.lined.items() if one.ready}
    scheduler.cold = sum(len(one.ready) for one in scheduler.lined.values() if one.state is not HostState.UP)
