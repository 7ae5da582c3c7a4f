"""The book of what is in memory: messages by MID, what the next checkpoint has to write, what content they need.

One object shared by the importer, the loader, the settlement, the checkpoint and the reclaimer, all on the loop
thread. It decides nothing and does no I/O.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from core.journal.entry import ContentRef
from mail.queue.message import Message, Parcel, Segment
from mail.queue.state import State

MOST_DIRTY = 2000
"""Messages of one checkpoint; beyond it importing waits."""


class Move(NamedTuple):
    """Where the content of a message was, and where it is now."""

    old: Segment
    new: Segment
    content: ContentRef


class Book:
    """What is in memory, and what changed since the last checkpoint."""

    def __init__(self, resident: int = 10_000, content_bytes: int = 32 << 20) -> None:
        self.resident = resident
        """Messages that memory takes."""
        self.messages: dict[int, Message] = {}
        self.dirty: dict[int, Message] = {}
        """Messages with something to write."""
        self.removed: list[int] = []
        """Finished messages that the next checkpoint takes out of the index."""
        self.gone: set[int] = set()
        """Finished messages that the index still has, also while a checkpoint is under way."""
        self.released: list[Segment] = []
        """One for each message finished since the last checkpoint."""
        self.segments: Counter[Segment] = Counter()
        """How many messages need the content there, as far as the disk knows."""
        self.moving: dict[int, Move] = {}
        """Where content went, until the index says the same."""
        self.rerouted: list[tuple[str, str, int, int, int]] = []
        """Recipients whose rows have to learn of another destination, as `store.Change` has them."""
        self.damaged: dict[int, str] = {}
        """Messages of the index that cannot be delivered, each with the reason."""
        self.finished_meanwhile: set[int] | None = None
        """While content is being moved: the messages that finished."""
        self.torn = False
        """A change of more than one step ended halfway: what is here must not be written any more."""
        self._content_left = content_bytes

    @contextmanager
    def one_step(self) -> Iterator[None]:
        """Have the book count as torn if the block fails."""
        try:
            yield
        except BaseException:
            self.torn = True
            raise

    def add(self, message: Message) -> None:
        """Take in a message that was imported or loaded."""
        self.messages[message.mid] = message
        if not message.stored:
            self.dirty[message.mid] = message
            self.segments[message.segment] += 1

    def keep_content(self, message: Message, data: bytes | None) -> None:
        """Hold content in memory for the first attempt, while the budget lasts."""
        if data is not None and len(data) <= self._content_left:
            self._content_left -= len(data)
            message.keep(data)

    def drop_content(self, message: Message) -> None:
        """Let go of content in memory: it is read again for a later attempt."""
        self._content_left += message.drop()

    def touch(self, message: Message) -> None:
        """Have the next checkpoint write a message."""
        self.dirty[message.mid] = message

    def finish(self, parcel: Parcel, rids: Iterable[int]) -> bool:
        """Take finished recipients out of a parcel, and a parcel that is done out; true if it was the last one."""
        message = parcel.message
        if message.stored:
            message.finished += rids
            self.dirty[message.mid] = message
        if parcel.state is not State.DONE:
            return False
        message.parcels.remove(parcel)
        if message.parcels:
            return False
        self.discard(message)
        return True

    def discard(self, message: Message) -> None:
        """Forget a message that is finished."""
        mid = message.mid
        del self.messages[mid]
        self.dirty.pop(mid, None)
        self.drop_content(message)
        if message.stored:
            self.remove_row(mid, message.segment)
            return
        self.released.append(message.segment)
        if self.finished_meanwhile is not None:
            self.finished_meanwhile.add(mid)

    def remove_row(self, mid: int, segment: Segment) -> None:
        """Have the next checkpoint take a message out of the index."""
        self.released.append(segment)
        self.removed.append(mid)
        self.gone.add(mid)
        self.damaged.pop(mid, None)
        if self.finished_meanwhile is not None:
            self.finished_meanwhile.add(mid)

    def evict(self, message: Message) -> None:
        """Let a message leave memory; the index has all of it."""
        del self.messages[message.mid]
        self.drop_content(message)

    @property
    def room(self) -> bool:
        """Whether memory takes more messages."""
        return len(self.messages) < self.resident and len(self.dirty) < MOST_DIRTY

    @property
    def changed(self) -> bool:
        """Whether a checkpoint has anything to write besides positions."""
        return bool(self.dirty or self.removed or self.released)
