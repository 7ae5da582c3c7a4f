"""Reading a journal while its owner writes it, from another process: the queue's side of the import.

A `Tail` goes from a stored position to the durable mark and never past it. It gives messages that have an outcome;
an accepted record is remembered until its outcome comes, and found again after a restart by reading what lies before
the position. A message is given once: storing `position` (or the position of the last entry used) in the same
transaction as the entries makes the import exactly once.

Everything that a tail reads stays in place until the reader acknowledges the generation, so nothing here can be
recycled while it is being read. A segment that is gone although nobody acknowledged it raises `JournalDamaged`.
The methods block on the disk and belong to one thread.
"""

from pathlib import Path

from core.disk import Disk
from core.journal.entry import ContentRef, Entry, Position
from core.journal.error import JournalDamaged
from core.journal.mark import MarkReader
from core.journal.reclaim import acknowledged
from core.journal.record import ACCEPTED, OUTCOME, PAGE, SPILLED, Record
from core.journal.recovery import read_records
from core.journal.segment import WINDOW_BYTES, SegmentReader, generations

READ_BYTES = 1024 * 1024


class Tail:
    """Reads one journal directory from a position on."""

    def __init__(self, directory: Path, position: Position | None = None, disk: Disk | None = None) -> None:
        self.position = position or Position()
        """Everything before it was given, or waits for its outcome."""
        self.damaged = 0
        """Places below the mark that held no valid record; each is a broken disk or a batch that never counted."""
        self._directory = directory
        self._disk = disk or Disk()
        self._mark: MarkReader | None = None
        self._reader: SegmentReader | None = None
        self._pending: dict[int, tuple[bytes, ContentRef]] = {}
        self._primed = self.position == Position()
        self._known_end: tuple[int, int] | None = None
        """Generation of a segment that is written no more, and where it ends: to know it takes a look at the folder."""

    def read(self, max_bytes: int = READ_BYTES) -> list[Entry]:
        """Give the next entries, in all about `max_bytes` of records; empty when the mark is reached.

        Raises `JournalDamaged`, `FormatRefused` and `OSError`; nothing was given then, and the next call begins at
        the same place.
        """
        mark = self._durable()
        entries: list[Entry] = []
        start, left = self.position, max_bytes
        try:
            while left > 0 and self._open(mark):
                left = self._read_segment(mark, left, entries)
        except BaseException:  # lack of memory too: what was read but not given would be passed over for ever
            self._leave()
            self.position, self._primed = start, start == Position()
            self._pending.clear()
            raise
        return entries

    def acknowledgeable(self) -> int:
        """Give the newest generation of which everything was read and every message was given, 0 if none.

        The reader may acknowledge it once it needs none of the content there.
        """
        self._prime()
        oldest = min((content.generation for _, content in self._pending.values()), default=self.position.generation)
        return max(0, min(oldest, self.position.generation) - 1)

    @property
    def gaps(self) -> int:
        """Places below the mark without a valid record, so far, in the open segment too."""
        return self.damaged + (self._reader.damaged if self._reader is not None else 0)

    def close(self) -> None:
        """Give back what is open; the next `read` opens it again."""
        self._leave()
        if self._mark is not None:
            self._mark.close()
            self._mark = None

    def _leave(self) -> None:
        """Close the segment that is open."""
        if self._reader is not None:
            self.damaged += self._reader.damaged
            self._reader.close()
            self._reader = None

    def _durable(self) -> Position:
        if self._mark is None:
            try:
                self._mark = MarkReader(self._disk, self._directory)
            except FileNotFoundError:
                return Position()  # no owner has opened this journal yet
        return self._mark.read() or Position()

    def _open(self, mark: Position) -> bool:
        """Have the segment open that holds what comes next; false when everything durable was read."""
        if self.position >= mark:
            return False
        self._prime()
        if self._reader is not None:
            return True
        for generation in generations(self._disk, self._directory):
            if self.position.generation <= generation <= mark.generation:
                self._enter(generation)
                return True
        return False

    def _enter(self, generation: int) -> None:
        try:
            reader = SegmentReader(self._disk, self._directory, generation)
        except FileNotFoundError:
            return  # acknowledged, and recycled since it was listed: the next turn lists again
        header = reader.header
        if header is None:
            reader.close()
            raise JournalDamaged(f"{reader.path}: not a segment")
        if generation > self.position.generation:
            before = Position(header.previous_generation, header.previous_end)
            if before > self.position and before.generation > acknowledged(self._directory, self._disk):
                reader.close()
                raise JournalDamaged(f"{self._directory}: nothing between {self.position} and {generation}")
            self.position = Position(generation, PAGE)
        self._reader = reader

    def _read_segment(self, mark: Position, left: int, entries: list[Entry]) -> int:
        """Read on in the open segment; gives what is left of the budget."""
        reader = self._reader
        if reader is None:
            return left
        end = self._end(reader, mark)
        for record in reader.records(self.position.offset, end, min(left, WINDOW_BYTES)):
            self.position = Position(reader.generation, record.offset + record.length)
            entry = self._pair(reader, record)
            if entry is not None:
                entries.append(entry)
            left -= record.length
            if left <= 0:
                return left
        self.position = Position(reader.generation, max(end, self.position.offset))
        if reader.generation < mark.generation:
            self._leave()
            self.position = Position(reader.generation + 1, 0)
        return left

    def _end(self, reader: SegmentReader, mark: Position) -> int:
        """Give where the durable octets of a segment end: at the mark, or where the next header says."""
        if reader.generation == mark.generation:
            return mark.offset
        if self._known_end is None or self._known_end[0] != reader.generation:
            self._known_end = (reader.generation, self._look_for_end(reader))
        return self._known_end[1]

    def _look_for_end(self, reader: SegmentReader) -> int:
        for generation in generations(self._disk, self._directory):
            if generation > reader.generation:
                try:
                    after = SegmentReader(self._disk, self._directory, generation)
                except FileNotFoundError:
                    continue  # it held nothing, and a new owner has recycled it
                after.close()
                if after.header is not None and after.header.previous_generation == reader.generation:
                    return after.header.previous_end
        return PAGE  # it was opened, nothing in it became durable, and writing went on elsewhere

    def _pair(self, reader: SegmentReader, record: Record) -> Entry | None:
        """Make an entry of a record that completes a message."""
        accepted, data = record.accepted, None
        if record.kind & ACCEPTED:
            content = reader.content(record)
            if not record.kind & OUTCOME:
                self._pending[record.mid] = (accepted, content)
                return None
            data = None if record.kind & SPILLED else record.stored
        else:
            waiting = self._pending.pop(record.mid, None)
            if waiting is None:
                return None  # it was given with an earlier outcome
            accepted, content = waiting
        return Entry(self.position, record.mid, accepted, content, record.outcome, data)

    def _prime(self) -> None:
        """Find, once, the accepted records before the position whose outcome comes after it."""
        if self._primed:
            return
        for reader, record in read_records(self._disk, self._directory, self.position):
            if record.kind & ACCEPTED:
                self._pending[record.mid] = (record.accepted, reader.content(record))
            if record.kind & OUTCOME:
                self._pending.pop(record.mid, None)
        self._primed = True
