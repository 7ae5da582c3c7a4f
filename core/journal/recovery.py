"""What the owner does with its directory before it writes again.

*Rules.* A record counts if it is valid by itself, wherever it stands; an invalid one is skipped, never believed.
A segment that a later header names as its predecessor ends where that header says. Any other is read to its
physical end, because the mark may be older than the last sync. What is kept of such a segment is written again in
place and synced: if the process died after a failed sync, the kernel may hold pages as clean that the disk never
got, and only a new write makes a new sync mean something. Then writing goes on in a new segment under a number
that was never used, so nothing is ever appended behind octets of doubtful standing.

An accepted record whose content file is missing or too short is not believed either: that file is synced before its
record is written, so the record was never durable, or the message was refused and its file removed.

Nothing is removed here but files that no record can need: drafts, unnamed content, segments without records. A
segment whose first page was lost is set aside under another name, and one of a newer release ends it all, before
anything was changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from core.disk import Disk
from core.journal.entry import Position, Recovered
from core.journal.ledger import Ledger
from core.journal.record import ACCEPTED, OUTCOME, PAGE, SPILLED, Record
from core.journal.segment import (
    CONTENT_DIRECTORY,
    FILLING,
    SPARE,
    UNREADABLE,
    SegmentReader,
    generations,
    segment_path,
)
from core.journal.spare import Spares
from core.killpoint import killpoint

REWRITE_BYTES = 1024 * 1024


@dataclass
class Findings:
    """What recovery found."""

    pending: dict[int, Recovered] = field(default_factory=dict)
    """Accepted without an outcome, by MID."""
    previous: Position = field(default_factory=Position)
    """The newest segment that stays, and where it ends."""
    newest: int = 0
    """Highest generation that has a file."""
    damaged: int = 0
    """Places that were neither record nor padding."""
    spills: set[str] = field(default_factory=set)
    """Content files that a record names."""
    aside: list[str] = field(default_factory=list)
    """Files of segments whose first page is damaged: accepted messages may be in them."""
    empty: list[int] = field(default_factory=list)
    """Segments to recycle once a new one is open: until then their headers say where others end."""


@dataclass
class Recovery:
    """One recovery of one directory, whose lock the caller holds."""

    disk: Disk
    directory: Path
    ledger: Ledger
    spares: Spares
    segment_bytes: int
    findings: Findings = field(default_factory=Findings)

    def recover(self) -> Findings:
        """Read everything, make what is valid durable, clear away drafts and content without a record."""
        ends = segment_ends(self.disk, self.directory)  # first: it refuses what this release must not touch
        self._collect_spares()
        for generation in generations(self.disk, self.directory):
            self.findings.newest = max(self.findings.newest, generation)
            if generation not in ends:
                self._set_aside(generation)
            elif not self._recover_segment(generation, ends[generation]):
                self.findings.empty.append(generation)
        self.findings.aside = sorted(name for name in self.disk.names(self.directory) if name.endswith(UNREADABLE))
        content = self.directory / CONTENT_DIRECTORY
        for name in [] if self.findings.aside else self.disk.names(content):  # what is set aside may name any of it
            if name not in self.findings.spills:
                self.disk.unlink(content / name)
        killpoint("journal.recovered")
        return self.findings

    def recycle_empty(self) -> None:
        """Recycle files without records, so that restarts in a row do not fill the disk."""
        for generation in self.findings.empty:
            path = segment_path(self.directory, generation)
            if _file_size(self.disk, path) != self.segment_bytes:
                self.disk.unlink(path)
                continue
            spare = path.with_suffix(SPARE)
            self.disk.rename(path, spare)
            self.spares.give(spare)
        if self.findings.empty:
            self.disk.fsync_directory(self.directory)

    def _set_aside(self, generation: int) -> None:
        """Keep a segment whose first page is none for whoever repairs it: a segment has its name from then on only."""
        path = segment_path(self.directory, generation)
        self.disk.rename(path, path.with_suffix(UNREADABLE))
        self.disk.fsync_directory(self.directory)
        self.findings.damaged += 1

    def _recover_segment(self, generation: int, end: int) -> bool:
        """Read one segment; false if it holds no record and no later header names it."""
        reader = SegmentReader(self.disk, self.directory, generation)
        last = PAGE
        spills: list[tuple[str, int]] = []
        try:
            for record in reader.records(PAGE, end or reader.size):
                last = record.offset + record.length
                spills += self._note(reader, record)
        finally:
            reader.close()
        if last == PAGE and not end:
            return False
        self.findings.damaged += reader.damaged
        last += -last % PAGE
        if not end:
            rewrite(self.disk, segment_path(self.directory, generation), last)
        self.findings.previous = Position(generation, end or last)
        self.ledger.add(generation, last - PAGE, spills)
        return True

    def _note(self, reader: SegmentReader, record: Record) -> list[tuple[str, int]]:
        """Keep account of one record; gives the content file that it names."""
        spills: list[tuple[str, int]] = []
        if record.kind & ACCEPTED:
            ref = reader.content(record)
            if record.kind & SPILLED:
                if _file_size(self.disk, ref.path) != ref.length:
                    self.findings.damaged += 1
                    return []
                spills.append((ref.path.name, ref.length))
                self.findings.spills.add(ref.path.name)
            self.findings.pending[record.mid] = Recovered(record.mid, record.accepted, ref)
        if record.kind & OUTCOME:
            self.findings.pending.pop(record.mid, None)
        return spills

    def _collect_spares(self) -> None:
        for name in self.disk.names(self.directory):
            path = self.directory / name
            if name.endswith(FILLING) or (name.endswith(SPARE) and _file_size(self.disk, path) != self.segment_bytes):
                self.disk.unlink(path)
            elif name.endswith(SPARE):
                self.spares.give(path)


def segment_ends(disk: Disk, directory: Path) -> dict[int, int]:
    """Give where each genuine segment ends by the word of a later header; 0 if no header names it."""
    ends: dict[int, int] = {}
    for generation in generations(disk, directory):
        try:
            reader = SegmentReader(disk, directory, generation)
        except FileNotFoundError:
            continue  # acknowledged, and recycled since it was listed
        if reader.header is not None:
            ends[generation] = 0
            if reader.header.previous_generation in ends:
                ends[reader.header.previous_generation] = reader.header.previous_end
        reader.close()
    return ends


def read_records(disk: Disk, directory: Path, upto: Position) -> Iterator[tuple[SegmentReader, Record]]:
    """Give every record before `upto` that counts, oldest segment first."""
    for generation, named in sorted(segment_ends(disk, directory).items()):
        end = min(named or upto.offset, upto.offset) if generation == upto.generation else named
        if generation > upto.generation or end <= PAGE:
            continue
        try:
            reader = SegmentReader(disk, directory, generation)
        except FileNotFoundError:
            continue
        try:
            for record in reader.records(PAGE, end):
                yield reader, record
        finally:
            reader.close()


def rewrite(disk: Disk, path: Path, end: int) -> None:
    """Write the pages below `end` again as they are and sync them."""
    fd = disk.open(path, write=True)
    try:
        for offset in range(PAGE, end, REWRITE_BYTES):
            data = disk.read(fd, min(REWRITE_BYTES, end - offset), offset)
            disk.write(fd, (data,), offset)
        disk.fdatasync(fd)
        killpoint("journal.rewritten")
    finally:
        disk.close(fd)


def _file_size(disk: Disk, path: Path) -> int:
    try:
        fd = disk.open(path)
    except FileNotFoundError:
        return -1
    try:
        return disk.size(fd)
    finally:
        disk.close(fd)
