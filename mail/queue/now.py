"""`delivernow`: mail that waits is tried at once, for a host, for everybody, or one message.

Called by the control verbs. In memory waiting parcels are put in line, in the index rows are made due; what is on a
connection, held or suspended stays as it is. For all, the intervals of recipient limits begin anew as well.
"""

from collections import Counter
from typing import Any

from core.clock import Clock
from core.errors import EX_NOINPUT, EX_USAGE, GatepostError
from core.sqlite import DatabaseThread
from mail.queue.book import Book
from mail.queue.fair.store import make_due
from mail.queue.rule import deliver_now, reset_intervals
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason, State
from mail.queue.store import make_message_due
from protocol.domain import canonical


class DeliverNow:
    """The verb."""

    def __init__(self, scheduler: Scheduler, book: Book, database: DatabaseThread, now: Clock) -> None:
        self._scheduler = scheduler
        self._book = book
        self._database = database
        self._now = now

    async def handle(self, args: dict[str, Any]) -> dict[str, Any]:
        """Try mail for `host`, of `mid`, or (`all`) every mail now; gives how many recipients were rescheduled."""
        if args.get("mid") is not None:
            return {"recipients": await self._message(str(args["mid"]))}
        host = canonical(str(args["host"])) if args.get("host") else None
        if host is None and not args.get("all"):
            raise GatepostError("say which: host, mid, or all", EX_USAGE)
        if host is not None and not any(one.name == host for one in self._scheduler.destinations.values()):
            raise GatepostError(f"{host}: no mail has been queued for this host", EX_NOINPUT)
        if host is None:
            reset_intervals(self._scheduler)
        return {"recipients": await self._hosts(host)}

    async def _hosts(self, host: str | None) -> int:
        now, waiting = self._now(), self._waiting(host)
        stored = {key: n for (key, in_index), n in waiting.items() if in_index}
        n = sum(waiting.values())
        for destination in deliver_now(self._scheduler, lambda one: host in (None, one.name), now):
            if destination.stored:
                rows = await self._rows(destination.key, now)
                n += max(0, rows - stored.get(destination.key, 0))
                self._scheduler.due.note(destination, now)
                self._scheduler.stir(destination)
        return n

    async def _rows(self, key: tuple[str, str], now: float) -> int:
        """Make a destination's rows due, some at a time; gives how many were not."""
        n, after = 0, now
        while True:
            some, further = await self._database.change(make_due, key, now, host_level=False, after=after)
            n += some
            if further is None:
                return n
            after = further

    def _waiting(self, host: str | None) -> Counter[tuple[tuple[str, str], bool]]:
        """Count what waits in memory, by destination and by whether the index has a row for it too."""
        waiting: Counter[tuple[tuple[str, str], bool]] = Counter()
        for message in self._book.messages.values():
            for parcel in message.parcels:
                if parcel.state is State.WAITING and host in (None, parcel.destination[0]):
                    waiting[parcel.destination, message.stored] += len(parcel.recipients)
        return waiting

    async def _message(self, text: str) -> int:
        mid, now = int(text) if text.isdecimal() else 0, self._now()
        message = self._book.messages.get(mid)
        if message is not None:
            waiting = [parcel for parcel in message.parcels if parcel.state is State.WAITING]
            for parcel in waiting:
                self._scheduler.ready(parcel, Reason.DELIVER_NOW)
                self._scheduler.destinations[parcel.destination].down_until = 0.0
            return sum(len(parcel.recipients) for parcel in waiting)
        keys = await self._database.change(make_message_due, mid, now)
        if not keys:
            raise GatepostError(f"MID {text} does not wait for a later attempt", EX_NOINPUT)
        for key in set(keys):
            destination = self._scheduler.destination(key)
            destination.down_until = 0.0
            self._scheduler.due.note(destination, now)
            self._scheduler.stir(destination)
        return len(keys)
