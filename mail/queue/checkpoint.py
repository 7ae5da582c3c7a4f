"""The checkpoint: what is not finished goes into the index, with the journal positions, in one transaction.

Every second, when something changed, `Checkpointer.run` begins a new epoch of the done log, looks at
what changed (`gather`, without a wait in between, so that messages, positions and epoch belong together), writes it in
the database's thread, and lets go of what the index now has. A message that finished before it was gathered never
touches the database. A transaction that fails is tried again as it is; until then nothing new is imported beyond what
memory takes, and no old done log is removed.

Order, and what a crash in between leaves: new epoch file (an empty log more), old logs synced, transaction (the
instant at which positions, rows and epoch change together), old logs removed (else removed next time), eviction.
"""

import asyncio
from collections.abc import Callable
from zlib import crc32

from core.clock import Clock
from core.errors import GatepostError
from core.killpoint import killpoint
from core.lifecycle import Scope
from core.maillog import Log
from core.record import encode
from core.sqlite import Database, DatabaseThread
from mail.queue.book import Book
from mail.queue.donelog import DoneLog
from mail.queue.importer import Importer
from mail.queue.line import flow_of
from mail.queue.message import NEVER, Message, Parcel, Segment
from mail.queue.places import message_row
from mail.queue.schedule import SOON_S, Scheduler, recount
from mail.queue.state import Reason, State
from mail.queue.store import Change, RecipientRow, write
from mail.queue.tally.tally import MOST, Tally

SYNC_S = 0.2
"""Longest time between a completion and its sync."""
EARLY = 1000
"""Changed messages that make a checkpoint come before its time: it looks at all of them in one turn of the loop."""
AT_ONCE = 500
"""Messages that are looked at in one turn of the loop afterwards."""


class BookTorn(Exception):
    """Memory is not to be written: the daemon has to end, and finds everything on the disk when it starts."""


class Gathered:
    """One change and what follows once it is committed."""

    def __init__(self, change: Change) -> None:
        self.change = change
        self.candidates: list[Message] = []
        self.released: list[Segment] = []
        self.acknowledgeable: dict[str, int] = {}
        self.moved: list[int] = []


class Checkpointer:
    """Writes the book into the index."""

    name = "checkpoint"

    def __init__(
        self,
        database: DatabaseThread,
        book: Book,
        done: DoneLog,
        *,
        scheduler: Scheduler,
        importer: Importer,
        log: Log,
        now: Clock,
        floor: int,
        interval_s: float = 1.0,
    ) -> None:
        """`floor` is the stored epoch; it stays until everything that older done logs speak of was imported."""
        self.failure = ""
        """Why the last transaction failed, '' if it did not."""
        self.acknowledgeable: dict[str, int] = {}
        """By journal, the newest generation that is imported whole, as committed."""
        self.committed: Callable[[], None] = lambda: None
        self.review_at: Callable[[Message], float] = lambda _message: NEVER
        """Says when the age of a message is to be looked at."""
        self._database = database
        self.tally = Tally(now)
        """The counts that go with a change."""
        self._book = book
        self._done = done
        self._scheduler = scheduler
        self._importer = importer
        self._log = log
        self._now = now
        self._floor = floor
        self._interval_s = interval_s
        self._one = asyncio.Lock()
        """One at a time: the reclaimer asks for checkpoints too."""
        self._gathered: Gathered | None = None
        self._positions: list[tuple[str, int, int]] = []

    async def run(self, scope: Scope) -> None:
        """Make a checkpoint whenever something changed, until stopping."""
        step_s = min(SYNC_S, self._interval_s / 4)
        waited_s = 0.0
        while await scope.pause(step_s):
            waited_s += step_s
            await self._sync()
            if waited_s >= self._interval_s or len(self._book.dirty) >= EARLY or not self._book.room:
                await self.make()
                waited_s = 0.0

    async def _sync(self) -> None:
        """Bound what a power cut between two checkpoints can have delivered again."""
        if self._done.unsynced:
            async with self._one:
                try:
                    await self._database.run(_sync_log, self._done)
                except OSError as error:
                    self._failed(f"the done log cannot be synced: {error.strerror}")

    async def make(self) -> bool:
        """Make one checkpoint if anything changed; false if it failed."""
        async with self._one:
            return await self._make()

    async def _make(self) -> bool:
        gathered = self._gathered
        if gathered is None:
            positions = self._importer.positions()
            idle = positions == self._positions and not (self._book.changed or self._book.moving or self.tally.due)
            if idle:
                return True
            try:
                self._done.begin_epoch()
            except OSError as error:
                return self._failed(f"a new done log cannot be made: {error.strerror}")
            self._crowd_out()
            gathered = self._gathered = self.gather(positions)
        try:
            await asyncio.shield(self._database.run(_commit, self._done, gathered.change))
        except (GatepostError, OSError) as error:
            return self._failed(str(error))
        self._gathered = None
        await self._finish(gathered)
        return True

    def last(self) -> None:
        """Write everything that is left, blocking; at the end of the process. Raises as the database does."""
        if self._gathered is not None:
            self._database.submit(_commit, self._done, self._gathered.change).result()
            self._gathered = None
        self._done.begin_epoch()
        change = self.gather(self._importer.positions(), counts=None).change
        self._database.submit(_commit, self._done, change).result()
        self._done.retire(change.epoch)

    def _failed(self, why: str) -> bool:
        if not self.failure:
            self._log.critical(f"The queue's index cannot be written: {why}")
        self.failure = why
        return False

    def gather(self, positions: list[tuple[str, int, int]], counts: int | None = MOST) -> Gathered:
        """Collect what changed, and the counts of so many destinations; from here on it counts as written.

        Raises `BookTorn` rather than give messages or positions that say more than is true.
        """
        if self._book.torn:
            raise BookTorn("a change in memory ended halfway; the next start reads the journals again")
        with self._book.one_step():
            return self._gather(positions, counts)

    def _gather(self, positions: list[tuple[str, int, int]], counts: int | None) -> Gathered:
        book = self._book
        if self._importer.caught_up:
            self._floor = self._done.epoch
        change = Change(self._floor, positions, tallied=self.tally.gather(counts))
        gathered = Gathered(change)
        for message in book.dirty.values():
            _describe(message, change, self.review_at(message))
            gathered.candidates.append(message)
        change.removed = [(mid,) for mid in book.removed]
        gathered.released, book.released = book.released, []
        change.rerouted, book.rerouted = book.rerouted, []
        book.dirty, book.removed = {}, []
        for mid, (_, new, content) in book.moving.items():
            change.moved.append((*new, content.kind, content.path.name, content.offset, mid))
            gathered.moved.append(mid)
        gathered.acknowledgeable = self._importer.acknowledgeable()
        self._positions = positions
        return gathered

    async def _finish(self, gathered: Gathered) -> None:
        """Draw the conclusions of a committed change; no other checkpoint begins meanwhile."""
        if self.failure:
            self._log.warning("The queue's index can be written again")
        self.failure = ""
        book = self._book
        gathered.released += [book.moving.pop(mid).old for mid in gathered.moved]
        for segment in gathered.released:
            book.segments[segment] -= 1
        book.gone.difference_update(mid for (mid,) in gathered.change.removed)
        self.acknowledgeable = gathered.acknowledgeable
        soon = self._now() + SOON_S
        for number, message in enumerate(gathered.candidates, 1):
            unchanged = message.mid not in book.dirty and book.messages.get(message.mid) is message
            if unchanged and _may_leave(message, soon):
                self._evict(message)
            if not number % AT_ONCE:
                await asyncio.sleep(0)
        try:
            self._done.retire(gathered.change.epoch)
        except OSError as error:
            self._log.warning(f"Old done logs stay: {error}")
        self.committed()

    def _evict(self, message: Message) -> None:
        self._book.evict(message)
        for parcel in message.parcels:
            self._scheduler.forget(parcel)
            parcel.move(Reason.CHECKPOINTED)
        message.parcels = []  # each refers to the other: the collector is spared the search

    def _crowd_out(self) -> None:
        """Park what stands in line for destinations that take nothing for a while; with memory short, more of it.

        With memory short each destination keeps an equal share of half of the memory in line, by turns of senders.
        """
        scheduler = self._scheduler
        recount(scheduler)
        short = len(self._book.messages) >= self._book.resident * 3 // 4
        share = max(2, self._book.resident // (2 * max(1, len(scheduler.lined)))) if short else NEVER
        now = self._now()
        for destination in scheduler.lined.values():
            blocked = scheduler.stopped or destination.blocked_until(now) > now + SOON_S
            for parcel in destination.ready.cut(0 if blocked else share):
                parcel.move(Reason.CROWDED_OUT)
                self._book.touch(parcel.message)


def _sync_log(_database: Database, done: DoneLog) -> None:
    done.sync()


def _commit(database: Database, done: DoneLog, change: Change) -> None:
    """Sync the old done logs, then write the change; in the database's thread."""
    killpoint("checkpoint.begun")
    done.sync()
    with database.transaction():
        write(database, change)
        killpoint("checkpoint.before-commit")
    killpoint("checkpoint.committed")


def _may_leave(message: Message, soon: float) -> bool:
    return message.evictable and all(
        parcel.state is State.PARKED or parcel.next_attempt_at > soon for parcel in message.parcels
    )


def _describe(message: Message, change: Change, review_at: float) -> None:
    """Add what the index has to know of a message."""
    before, message.review_at = message.review_at, review_at
    if not message.stored:
        documents = message.documents or (encode(message.accepted), encode(message.outcome))
        message.documents = None
        message.stored = True
        change.messages.append(message_row(message, *documents))
        for parcel in message.parcels:
            change.recipients += _rows(parcel)
        return
    if review_at != before:
        change.reviewed.append((review_at, message.mid))
    change.finished += [(message.mid, rid) for rid in message.finished]
    message.finished = []
    for parcel in message.parcels:
        facts = (parcel.attempts, parcel.next_attempt_at, parcel.last_reply, int(parcel.host_level), parcel.warned)
        change.tried += [(*facts, message.mid, one.rid) for one in parcel.recipients]


def _rows(parcel: Parcel) -> list[RecipientRow]:
    destination, target = parcel.destination
    bucket = crc32(destination.encode()) & 255
    facts = (parcel.attempts, parcel.next_attempt_at, parcel.last_reply, int(parcel.host_level), parcel.warned)
    flow = crc32(flow_of(parcel.sender).encode("utf-8", "surrogatepass"))
    return [RecipientRow(parcel.mid, one.rid, bucket, destination, target, *facts, flow) for one in parcel.recipients]
