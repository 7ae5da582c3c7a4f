"""The synchronous part of writing: batches into segments, one sync each, the mark after it.

Used by one thread at a time (the writer thread; tests call it directly). It knows no event loop.

A write or sync that fails seals the segment for good at its last durable octet: after a failed `fdatasync` the
kernel may call pages clean that the disk never got, so neither a second sync nor a write behind them would prove
anything. What the failed batch left is overwritten with zeros as well as that still goes, and the next segment
names in its header where the sealed one ends, so no reader ever takes a record of a batch that failed. Only if the
process dies before that next header is durable, and the zeros did not stick, may recovery find such a record whole
(docs/queue.md says why that is allowed).
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from core.disk import Disk
from core.journal.entry import Position
from core.journal.error import JournalUnavailable
from core.journal.ledger import Ledger
from core.journal.mark import MarkWriter
from core.journal.record import PAGE, Batch, Item, Room, encode_batch
from core.journal.segment import Header, encode_header, segment_path
from core.journal.spare import Spares
from core.killpoint import killpoint

SPILL_ROLL_FACTOR = 4

Released = Callable[[list[Item], JournalUnavailable | None], None]


@dataclass
class LogParts:
    """What a log works with; one set per journal directory."""

    disk: Disk
    directory: Path
    segment_bytes: int
    mark: MarkWriter
    spares: Spares
    ledger: Ledger
    next_generation: Callable[[], int]
    """Gives a number that was never used in this directory. May raise `OSError`."""
    previous: Position = field(default_factory=Position)
    """The newest segment that holds records, and the end of its durable octets."""


class SegmentLog:
    """Appends batches to the current segment and rolls to the next."""

    def __init__(self, parts: LogParts) -> None:
        self._parts = parts
        self._disk = parts.disk
        self._previous = parts.previous
        self._fd = -1
        self._room = Room(0, b"", 0, 0)
        self.failure: OSError | None = None
        """Why the last write failed, until one to a new segment has succeeded."""

    @property
    def position(self) -> Position:
        """Where the next batch goes; generation 0 while no segment is open."""
        return Position(self._room.generation, self._room.offset)

    def commit(self, items: list[Item], released: Released) -> None:
        """Make the items durable in order, calling `released` for each run of them that shares a fate."""
        start = 0
        while start < len(items):
            batch: Batch | None = None
            try:
                if self._fd < 0:
                    self.roll()
                batch = encode_batch(items, start, self._room)
                if batch.taken:
                    self._store(batch)
                elif self._room.offset == PAGE:
                    raise OSError(f"a record of {items[start].mid} is larger than a segment")
                else:
                    self.roll()
            except Exception as error:  # whatever it was, those who wait must be told, and the thread must live
                self._fail(error if isinstance(error, OSError) else OSError(repr(error)), batch)
                failed = JournalUnavailable(f"{self._parts.directory}: {error}")
                released(items[start:], failed)
                return
            if batch.taken:
                whole = batch.taken == len(items)
                released(items if whole else items[start : start + batch.taken], None)
                start += batch.taken

    def roll(self) -> None:
        """Go on in a new segment. Raises `OSError`, leaving none open."""
        self._seal()
        parts = self._parts
        generation = parts.next_generation()
        spare = parts.spares.take()
        path = segment_path(parts.directory, generation)
        header = Header(generation, os.urandom(8), *self._previous, parts.segment_bytes)
        fd = -1
        try:
            fd = self._disk.open(spare, write=True)
            self._disk.write(fd, (encode_header(header),), 0)
            self._disk.fdatasync(fd)
            killpoint("journal.header-written")
            self._disk.rename(spare, path)
            self._disk.fsync_directory(parts.directory)
            killpoint("journal.segment-named")
        except OSError as error:
            self.failure = error
            self._abandon(fd, spare, path)
            raise
        parts.ledger.add(generation, 0, [])
        self._fd = fd
        self._room = Room(generation, header.tag, PAGE, parts.segment_bytes)
        self.failure = None
        parts.mark.publish(self.position)

    def close(self) -> None:
        """Close the current segment; what is durable stays."""
        self._seal()

    def _store(self, batch: Batch) -> None:
        room = self._room
        killpoint("journal.encoded")
        self._disk.write(self._fd, batch.buffers, room.offset)
        killpoint("journal.written")
        self._disk.fdatasync(self._fd)
        killpoint("journal.synced")
        self._room = room._replace(offset=room.offset + batch.length)
        self._parts.ledger.add(room.generation, batch.length, batch.spills)
        self._parts.mark.publish(self.position)
        killpoint("journal.marked")
        if batch.spills and self._spilled_enough():
            self._seal()

    def _spilled_enough(self) -> bool:
        """Say whether content files alone make it worth going on in a new segment, so that they can be reclaimed."""
        parts = self._parts
        return parts.ledger.octets(self._room.generation) > SPILL_ROLL_FACTOR * parts.segment_bytes

    def _seal(self) -> None:
        """Write no more into the current segment; its durable end goes into the next header."""
        if self._fd < 0:
            return
        self._previous = self.position
        self._close_quietly(self._fd)
        self._fd = -1
        self._room = Room(0, b"", 0, 0)

    def _fail(self, error: OSError, batch: Batch | None) -> None:
        self.failure = error
        if self._fd >= 0 and batch is not None:
            try:
                self._disk.write(self._fd, (bytes(batch.length),), self._room.offset)
                self._disk.fdatasync(self._fd)
            except OSError as second:
                self.failure = second
        self._seal()

    def _abandon(self, fd: int, spare: Path, path: Path) -> None:
        """Clear away a segment that could not be opened; if that fails too, recovery finds it empty."""
        if fd >= 0:
            self._close_quietly(fd)
        for name in (spare, path):
            try:
                self._disk.unlink(name)
            except OSError as error:
                self.failure = error

    def _close_quietly(self, fd: int) -> None:
        """Close a file whose octets were synced, or given up, before."""
        try:
            self._disk.close(fd)
        except OSError as error:
            self.failure = self.failure or error
