"""Choosing recipients in the queue: by destination, sender, MID and condition, in memory and in the index alike.

Used by the listing (`showrecipients`) and by the verbs that act on what was chosen (mail/queue/operate.py). `Stream`
gives the MIDs to look at in their order, a step at a time, so that memory does not grow with the queue; `Picker.rows`
reads what is not in memory. Between the return of `rows` and the next await, what it gave is true: a message of the
rows is in the index only, any other is in memory or finished. Raises `GatepostError` 64 and 65 for what is no selector.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.clock import Clock
from core.errors import EX_DATAERR, EX_USAGE, GatepostError
from core.journal import JournalDamaged, open_content
from core.record import Accepted, Outcome, Recipient
from core.sqlite import DatabaseThread
from mail.filter.condition import Queued, QueuedView, compile_condition
from mail.filter.rule import Predicate
from mail.filter.syntax import FilterError
from mail.queue.book import Book
from mail.queue.documents import RowDamaged, documents_of, what_is_known
from mail.queue.message import Message
from mail.queue.places import Places
from mail.queue.state import State
from mail.queue.store import MessageRow, RecipientRow, ascii_lower, chosen, several
from protocol.domain import canonical

PAGE = 20_000
"""MIDs read from the index at once."""
BUSY = frozenset({State.SENDING, State.FAILING})
"""On a connection, or being reported: left alone."""

Rows = Mapping[int, tuple[MessageRow, list[RecipientRow]]]


class Entry(NamedTuple):
    """One recipient in the queue."""

    recipient: Recipient
    destination: str
    attempts: int
    next_attempt_at: float
    last_reply: str
    busy: bool = False


@dataclass(frozen=True)
class Selector:
    """What is chosen: whatever is given must all hold; nothing given chooses all."""

    host: str | None = None
    sender: str | None = None
    mids: tuple[int, ...] | None = None
    condition: Predicate | None = None

    @classmethod
    def of(cls, args: Mapping[str, Any]) -> "Selector":
        """Read the arguments `host`, `sender`, `mids`, `filter` and `content` (false = not asked about) of a verb."""
        text, host = args.get("filter"), args.get("host")
        try:
            condition = compile_condition(str(text), content=args.get("content") is not False) if text else None
            mids = None if args.get("mids") is None else tuple(sorted({int(mid) for mid in args["mids"]}))
        except FilterError as error:
            raise GatepostError(f"filter: {'; '.join(str(fault) for fault in error.faults)}", EX_DATAERR) from None
        except (TypeError, ValueError):
            raise GatepostError("a MID is a number", EX_USAGE) from None
        sender = args.get("sender")
        return cls(canonical(str(host)) if host else None, None if sender is None else str(sender), mids, condition)

    def takes(self, entry: Entry) -> bool:
        """Tell whether a recipient stands where the selector says; sender and condition are asked elsewhere."""
        return self.host is None or entry.destination == self.host

    def sent_by(self, sender: str) -> bool:
        """Match an address, `user@` or `@domain`, without regard to ASCII case; as `store.chosen` does."""
        if self.sender is None:
            return True
        low, own = ascii_lower(self.sender), ascii_lower(sender)
        if low.startswith("@"):
            return own.rpartition("@")[2] == low[1:]
        return own.startswith(low) if low.endswith("@") else own == low


class Found(NamedTuple):
    """A message with the recipients that a selector takes."""

    accepted: Accepted
    outcome: Outcome
    entries: list[Entry]
    chunks: Callable[[], Iterable[bytes]]
    damaged: str = ""
    """Why the message cannot be delivered; sender and numbers are all that is known of it then."""


def entries_of(message: Message) -> Iterator[Entry]:
    """Give the recipients of a message in memory."""
    for parcel in message.parcels:
        for one in parcel.recipients:
            facts = (parcel.attempts, parcel.next_attempt_at, parcel.last_reply, parcel.state in BUSY)
            yield Entry(one, parcel.destination[0], *facts)


class Stream:
    """The MIDs that may match, in their order, from the index and from memory."""

    def __init__(self, database: DatabaseThread, book: Book, selector: Selector, after: int = 0) -> None:
        self._database = database
        self._selector = selector
        self._after = after
        self._index: deque[int] = deque(mid for mid in selector.mids or () if mid > after)
        self._ended = selector.mids is not None
        held = () if self._ended else book.messages.values()
        self._memory = deque(sorted(one.mid for one in held if one.mid > after and self._may_match(one)))
        self._given = after

    def _may_match(self, message: Message) -> bool:
        host = self._selector.host
        if host is not None and not any(parcel.destination[0] == host for parcel in message.parcels):
            return False
        return self._selector.sent_by(message.accepted.sender)

    async def next(self, most: int) -> list[int]:
        """Give up to `most` MIDs; none when all were given."""
        given: list[int] = []
        while len(given) < most:
            if not self._index and not self._ended:
                await self._read()
                continue
            line = min((line for line in (self._index, self._memory) if line), key=lambda one: one[0], default=None)
            if line is None:
                break
            mid = line.popleft()
            if mid > self._given:  # else it was in memory and in the index
                given.append(mid)
                self._given = mid
        return given

    async def _read(self) -> None:
        host, sender = self._selector.host, self._selector.sender
        found = await self._database.run(chosen, host, sender, after=self._after, most=PAGE)
        self._ended = len(found) < PAGE
        self._after = found[-1] if found else self._after
        self._index.extend(found)


class Picker:
    """Reads messages wherever they are, and asks conditions about them."""

    def __init__(self, database: DatabaseThread, book: Book, places: Places, now: Clock) -> None:
        self.database = database
        self.book = book
        self._places = places
        self._now = now

    def stream(self, selector: Selector, after: int = 0) -> Stream:
        """Begin to look for what a selector chooses."""
        return Stream(self.database, self.book, selector, after)

    async def rows(self, mids: Collection[int]) -> Rows:
        """Read those of some messages that are in the index only; see the module for how long that is true."""
        while True:
            wanted = {mid for mid in mids if self._elsewhere(mid)}
            if not wanted:
                return {}
            found = {row[0].mid: row for row in await self.database.run(several, sorted(wanted))}
            if all(mid in wanted for mid in mids if self._elsewhere(mid)):  # none has left memory meanwhile
                return {mid: row for mid, row in found.items() if self._elsewhere(mid)}

    def _elsewhere(self, mid: int) -> bool:
        return mid not in self.book.messages and mid not in self.book.gone

    async def look(self, selector: Selector, mids: list[int], attempts: int = 3) -> dict[int, Found]:
        """Find the recipients that a selector takes among some messages, busy ones too.

        A condition is not asked of content that cannot be read at any attempt, nor of what is damaged: such a message
        is not taken.
        """
        rows = await self.rows(mids)
        found: dict[int, Found] = {}
        for mid in mids:
            one = self._of_memory(mid) or self._of_row(rows.get(mid))
            if one is not None and selector.sent_by(one.accepted.sender):
                entries = [entry for entry in one.entries if selector.takes(entry)]
                if entries:
                    found[mid] = one._replace(entries=entries)
        if selector.condition is None or not found:
            return found
        found = {mid: one for mid, one in found.items() if not one.damaged}
        kept, unreadable = await asyncio.to_thread(self._ask, selector.condition, found)
        if unreadable and attempts > 1:  # content that was moved, while we asked, is where the index says now
            kept |= await self.look(selector, unreadable, attempts - 1)
        return kept

    def _of_memory(self, mid: int) -> Found | None:
        message = self.book.messages.get(mid)
        if message is None:
            return None
        return Found(message.accepted, message.outcome, list(entries_of(message)), message.chunks)

    def _of_row(self, found: tuple[MessageRow, list[RecipientRow]] | None) -> Found | None:
        if found is None:
            return None
        row, recipients = found
        try:
            accepted, outcome = documents_of(row)
        except RowDamaged as error:
            self.book.damaged[row.mid] = str(error)  # the loader logs it
            accepted, outcome = what_is_known(row, recipients)
        addresses = {one.rid: one for one in outcome.recipients or accepted.recipients}
        entries = [
            Entry(
                addresses.get(one.rid, Recipient(one.rid, "")),
                one.destination,
                one.attempts,
                one.next_attempt_at,
                one.last_reply,
            )
            for one in recipients
        ]
        move = self.book.moving.get(row.mid)
        content = move.content if move is not None else self._places.locate(row)
        damaged = self.book.damaged.get(row.mid, "")
        return Found(accepted, outcome, entries, lambda: open_content(content), damaged)

    def _ask(self, condition: Predicate, found: dict[int, Found]) -> tuple[dict[int, Found], list[int]]:
        """Leave out what a condition does not take; in a thread. Tells as well whose content could not be read."""
        now = self._now()
        kept: dict[int, Found] = {}
        unreadable: list[int] = []
        for mid, one in found.items():
            view = QueuedView(one.accepted, one.chunks)
            age_s = now - one.accepted.received_at
            try:
                entries = [entry for entry in one.entries if _holds(condition, view, entry, age_s)]
            except (OSError, JournalDamaged):
                entries = []
                unreadable.append(mid)
            if entries:
                kept[mid] = one._replace(entries=entries)
        return kept, unreadable


def _holds(condition: Predicate, view: QueuedView, entry: Entry, age_s: float) -> bool:
    view.turn(Queued(entry.recipient, age_s, entry.attempts, entry.last_reply, entry.destination))
    return condition(view)
