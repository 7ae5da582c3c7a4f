"""From the index back into memory: what is due, for destinations that have room.

The scheduler's `DueIndex` says for whom; one load runs at a time. At the start `Loader.survey` learns what the index
holds by destination, without reading any message, so that the first delivery does not wait for a long queue.
Logs a failing index once.
"""

import asyncio
from collections import OrderedDict

from core.clock import Clock
from core.errors import GatepostError
from core.lifecycle import Scope
from core.maillog import Log, clean
from core.record import Recipient
from core.sqlite import DatabaseThread
from mail.queue.book import Book
from mail.queue.destination import Destination, HostState
from mail.queue.documents import RowDamaged, documents_of
from mail.queue.fair.store import Picked, Waking, Want, make_several_due, pick
from mail.queue.message import NEVER, Message, Parcel
from mail.queue.places import Places, segment_of
from mail.queue.schedule import Scheduler, look
from mail.queue.store import Load, MessageRow, RecipientRow

BATCH = 500
ENOUGH_COLD = 1000
"""With so many parcels in line for hosts that are not known to be up, none are loaded for hosts that were down."""
TURN_S = 0.02
WAKE_AT_ONCE = 64
"""Destinations whose waiting mail is made due in one transaction …"""
WAKE_LOOKS = 5000
"""… found among so many."""


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
        self._waking: OrderedDict[tuple[str, str], Waking] = OrderedDict()
        self._told: set[int] = set()
        """MIDs of which the log has been told that they are damaged."""
        scheduler.due.wanted = self._wanted.set
        scheduler.wake = self._wake

    def survey(self, loads: list[Load]) -> None:
        """Take note of what the index holds at the start; a host that mail waits for is down until its retry time."""
        for load in loads:
            destination = self._scheduler.destination((load.destination, load.target))
            destination.active = destination.stored = load.recipients
            destination.attempted = load.attempted
            if load.down_until:
                destination.state = HostState.DOWN
                destination.failures = 1
                destination.down_until = load.down_until
            self._scheduler.due.note(destination, load.earliest)

    async def run(self, scope: Scope) -> None:
        """Load when asked to, until stopping."""
        while not scope.stopping.is_set():
            self._tell_damage()
            try:
                async with asyncio.timeout(1.0):
                    await self._wanted.wait()
            except TimeoutError:
                if not self._waking:
                    continue
            self._wanted.clear()
            if self._scheduler.stopped or not self._book.room:
                self._wanted.set()
                await scope.pause(0.1)
                continue
            await self._wake_some()
            await self._load_some()

    def _wake(self, destination: Destination, host_level: bool) -> None:
        """Have what waits in the index for a destination tried now, by and by."""
        self._waking[destination.key] = Waking(destination.key, host_level, 0.0)
        self._wanted.set()

    def _awake(self, now: float) -> list[Waking]:
        """Take out some destinations that have loaded what was due before; the others stand at the end again."""
        found: list[Waking] = []
        for _ in range(min(len(self._waking), WAKE_LOOKS)):
            key, waking = self._waking.popitem(last=False)
            destination = self._scheduler.destinations.get(key)
            if destination is None or not destination.stored:
                continue
            if destination.earliest > now:
                found.append(waking)
            else:
                self._waking[key] = waking
            if len(found) == WAKE_AT_ONCE:
                break
        return found

    async def _wake_some(self) -> None:
        """Make the next rows due of some destinations, in one transaction: never more than they need."""
        now = self._now()
        wakings = self._awake(now)
        if not wakings:
            return
        try:
            done = await self._database.change(make_several_due, wakings, now)
        except GatepostError as error:
            self._log.warning(f"Mail of {len(wakings)} destinations waits for its next attempt: {error.text}")
            return
        for waking, (count, after) in zip(wakings, done, strict=True):
            if after is not None:
                self._waking.setdefault(waking.key, waking._replace(after=after))
            destination = self._scheduler.destinations.get(waking.key)
            if count and destination is not None:
                self._scheduler.due.note(destination, now)
                look(self._scheduler, destination, now)
        if self._waking:
            self._wanted.set()  # a turn that finds nobody waits for the next second

    async def _load_some(self) -> None:
        """Load for the destinations whose turn it is."""
        now = self._now()
        chosen = self._scheduler.due.take(now, suspects=self._scheduler.cold < ENOUGH_COLD)
        if not chosen:
            await asyncio.sleep(TURN_S)
        wants = [Want(one.key, min(most, BATCH), one.cursor) for one, most in chosen]
        before = [one.earliest for one, _ in chosen]
        for one, _ in chosen:
            one.earliest = NEVER
        try:
            found = await self._database.run(pick, wants, now, self._taken)
        except GatepostError as error:
            if not self._failing:
                self._log.critical(f"The queue's index cannot be read: {error.text}")
            self._failing = True
            for (one, _), earliest in zip(chosen, before, strict=True):
                self._scheduler.due.note(one, max(earliest, now + 1))
            return
        self._failing = False
        for (one, _), picked in zip(chosen, found, strict=True):
            self._bring(one, picked)
        if len(self._scheduler.due) or any(one.key in self._waking and one.earliest > now for one, _ in chosen):
            self._wanted.set()

    def _bring(self, destination: Destination, picked: Picked) -> None:
        for row, rows in picked.messages:
            self.take(row, rows)
        destination.cursor = picked.cursor
        self._scheduler.due.note(destination, picked.earliest)

    def _taken(self, mid: int) -> bool:
        """Tell whether a message need not be loaded; also called in the database's thread."""
        return mid in self._book.messages or mid in self._book.gone or mid in self._book.damaged

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
            accepted, outcome = documents_of(row)
        except RowDamaged as error:
            self._book.damaged[row.mid] = str(error)
            self._tell_damage()
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

    def _tell_damage(self) -> None:
        """Log what was found damaged, by whomever, once."""
        if self._told == self._book.damaged.keys():
            return
        for mid in self._book.damaged.keys() - self._told:
            why = clean(self._book.damaged[mid])
            self._log.critical(f"MID {mid} in the queue's index is damaged and is not delivered: {why}")
        self._told = set(self._book.damaged)


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
