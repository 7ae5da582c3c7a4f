"""`delivernow`: mail that waits is tried at once, for a host, for everybody, or one message.

Called by the control verbs. In memory waiting parcels are put in line; what is in the index is left to the loader
(`Scheduler.wake`), which makes it due as fast as it can be loaded. What is on a connection, held or suspended stays as
it is. For all, the intervals of recipient limits begin anew as well.
"""

import asyncio
from typing import Any

from core.clock import Clock
from core.errors import EX_NOINPUT, EX_USAGE, GatepostError
from core.sqlite import DatabaseThread
from mail.queue.book import Book
from mail.queue.rule import deliver_now, hurry, reset_intervals
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason, State
from mail.queue.store import make_message_due, waiting_rows
from protocol.domain import canonical

AT_ONCE = 500
"""Destinations, and parcels in memory, that are dealt with in one turn of the loop."""


class DeliverNow:
    """The verb."""

    def __init__(
        self, scheduler: Scheduler, book: Book, database: DatabaseThread, reader: DatabaseThread, now: Clock
    ) -> None:
        self._scheduler = scheduler
        self._book = book
        self._database = database
        self._reader = reader
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
        """Have it done some at a time; gives how many recipients waited for a later attempt."""
        now = self._now()
        rows = await self._reader.run(waiting_rows, host, now)
        parcels = [
            parcel
            for message in list(self._book.messages.values())
            for parcel in message.parcels
            if parcel.state is State.WAITING and host in (None, parcel.destination[0])
        ]
        named = self._scheduler.destinations.values() if host is None else self._scheduler.by_name.get(host, ())
        destinations = [one for one in named if not one.held]
        in_memory = sum(len(parcel.recipients) for parcel in parcels)
        twice = sum(len(parcel.recipients) for parcel in parcels if parcel.message.stored)
        for start in range(0, max(len(parcels), len(destinations)), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            deliver_now(self._scheduler, parcels[part], destinations[part])
            await asyncio.sleep(0)
        return in_memory + max(0, rows - twice)

    async def _message(self, text: str) -> int:
        mid, now = int(text) if text.isdecimal() else 0, self._now()
        message = self._book.messages.get(mid)
        if message is not None:
            waiting = [parcel for parcel in message.parcels if parcel.state is State.WAITING]
            for parcel in waiting:
                self._scheduler.ready(parcel, Reason.DELIVER_NOW)
                hurry(self._scheduler.destinations[parcel.destination])
            return sum(len(parcel.recipients) for parcel in waiting)
        keys = await self._database.change(make_message_due, mid, now)
        if not keys:
            raise GatepostError(f"MID {text} does not wait for a later attempt", EX_NOINPUT)
        for key in set(keys):
            destination = self._scheduler.destination(key)
            hurry(destination)
            self._scheduler.due.note(destination, now)
            self._scheduler.stir(destination)
        return len(keys)
