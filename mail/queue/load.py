"""From the index back into memory: what is due, for destinations that have room.

The scheduler's `DueIndex` says for whom; one load runs at a time. At the start `Loader.survey` learns what the index
holds by destination, without reading any message, so that the first delivery does not wait for a long queue.
Logs a failing index once.
"""

import asyncio
from collections.abc import Set

import msgspec

from core.clock import Clock
from core.errors import GatepostError
from core.lifecycle import Scope
from core.record import Recipient, decode_accepted, decode_outcome
from core.sqlite import DatabaseThread
from mail.queue.book import Book
from mail.queue.destination import Destination
from mail.queue.importer import Log
from mail.queue.message import NEVER, Message, Parcel
from mail.queue.places import Places, segment_of
from mail.queue.schedule import Scheduler
from mail.queue.store import Found, Load, MessageRow, RecipientRow, due, make_due

BATCH = 500


class Loader:
    """Brings messages back."""

    name = "load"

    def __init__(
        self,
        database: DatabaseThread,
        book: Book,
        scheduler: Scheduler,
        *,
        places: Places,
        log: Log,
        now: Clock,
    ) -> None:
        self._database = database
        self._book = book
        self._scheduler = scheduler
        self._places = places
        self._log = log
        self._now = now
        self._failing = False
        self._wanted = asyncio.Event()
        self._woken_hosts: dict[tuple[str, str], Destination] = {}
        scheduler.due.wanted = self._wanted.set
        scheduler.came_up = self._came_up

    def survey(self, loads: list[Load]) -> None:
        """Take note of what the index holds at the start."""
        for load in loads:
            destination = self._scheduler.destination((load.destination, load.target))
            destination.active = destination.stored = load.recipients
            destination.attempted = load.attempted
            self._scheduler.due.note(destination, load.earliest)

    async def run(self, scope: Scope) -> None:
        """Load when asked to, until stopping."""
        while not scope.stopping.is_set():
            try:
                async with asyncio.timeout(1.0):
                    await self._wanted.wait()
            except TimeoutError:
                continue
            self._wanted.clear()
            await self._wake_hosts()
            if self._scheduler.stopped or not self._book.room:
                await scope.pause(0.1)
                continue
            await self._load_all()

    def _came_up(self, destination: Destination) -> None:
        self._woken_hosts[destination.key] = destination
        self._wanted.set()

    async def _wake_hosts(self) -> None:
        """Have what waits in the index for a host that answers again tried now."""
        woken, self._woken_hosts = self._woken_hosts, {}
        for destination in woken.values():
            now = self._now()
            try:
                if await self._database.change(make_due, destination.key, now, host_level=True):
                    self._scheduler.due.note(destination, now)
            except GatepostError as error:
                self._log.warning(f"Mail for {destination.name} waits for its next attempt: {error.text}")

    async def _load_all(self) -> None:
        for destination, most in self._scheduler.due.take(self._now()):
            if self._book.room:
                await self._load(destination, min(most, BATCH))
            else:
                self._scheduler.due.note(destination, destination.earliest)

    async def _load(self, destination: Destination, most: int) -> None:
        before, destination.earliest = destination.earliest, NEVER
        now = self._now()
        excluded: Set[int] = self._book.messages.keys() | self._book.gone
        try:
            found: Found = await self._database.run(due, destination.key, now, most, excluded)
        except GatepostError as error:
            if not self._failing:
                self._log.critical(f"The queue's index cannot be read: {error.text}")
            self._failing = True
            self._scheduler.due.note(destination, max(before, now + 1))
            return
        self._failing = False
        for row, rows in found.messages:
            self.take(row, rows)
        self._scheduler.due.note(destination, found.earliest)

    def take(self, row: MessageRow, rows: list[RecipientRow]) -> None:
        """Put one message of the index into memory, its parcels where they belong."""
        message = self.lift(row, rows)
        if message is not None:
            now = self._now()
            for parcel in list(message.parcels):
                self._scheduler.add(parcel, now, loaded=True)

    def lift(self, row: MessageRow, rows: list[RecipientRow]) -> Message | None:
        """Put one message of the index into memory, its parcels in nobody's line yet; the caller sees to them.

        None if it is in memory already, if it finished since the row was read, or if it cannot be read.
        """
        if row.mid in self._book.messages or row.mid in self._book.gone:
            return None
        try:
            accepted, outcome = decode_accepted(row.accepted), decode_outcome(row.outcome)
        except msgspec.MsgspecError as error:
            self._log.critical(f"MID {row.mid} in the queue's index cannot be read and is left there: {error}")
            return None
        message = Message(accepted, outcome, self._places.locate(row), segment_of(row), stored=True)
        message.review_at = row.review_at
        if row.mid in self._book.moving:
            _, message.segment, message.content = self._book.moving[row.mid]
        self._book.add(message)
        addresses = {one.rid: one for one in outcome.recipients or accepted.recipients}
        parcels: dict[tuple[str, str], Parcel] = {}
        for one in rows:
            recipient = addresses.get(one.rid, Recipient(one.rid, ""))
            _group(message, parcels, one).recipients.append(recipient)
        for parcel in parcels.values():
            self._scheduler.destination(parcel.destination).stored -= len(parcel.recipients)
        return message


def _group(message: Message, parcels: dict[tuple[str, str], Parcel], row: RecipientRow) -> Parcel:
    """Give the parcel that a row belongs to; what was split comes together again."""
    key = (row.destination, row.target)
    parcel = parcels.get(key)
    if parcel is None:
        parcel = parcels[key] = Parcel(message, key, [])
        message.parcels.append(parcel)
        parcel.next_attempt_at = row.next_attempt_at
    parcel.next_attempt_at = min(parcel.next_attempt_at, row.next_attempt_at)
    if row.attempts >= parcel.attempts:
        parcel.attempts = row.attempts
        parcel.last_reply = row.last_reply
        parcel.warned = row.warned
        parcel.host_level = bool(row.host_level)
    return parcel
