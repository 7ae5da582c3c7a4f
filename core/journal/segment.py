"""Segment files: names, the header page, zero-filled spares, and reading the records of one segment.

A segment is a file of fixed length that was written through once before use: a sync then costs no file system
metadata (preallocation alone does not give that). A used segment is renamed to a spare and used again under a new
generation, a number that was never used before.

Header page: magic 8, version 2, compatible 2, spare 4, generation 8, tag 8, previous generation 8, previous end 8,
size 8, CRC 4. Whatever a later version changes, magic, version and compatible stay where they are (`core/format.py`):
a segment of a release that this one cannot follow is never skipped, taken for empty or used again. `previous` names
the segment that was written before, and where its durable octets ended: what stands behind that end belongs to
batches whose sync failed and is never read again.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from core.disk import Disk
from core.format import FormatRefused, Layout, too_new
from core.journal.entry import ContentRef
from core.journal.record import PAGE, SPILLED, Record, decode, needed

MAGIC = b"GATEPJNL"
LAYOUT = Layout(1)
WINDOW_BYTES = 1024 * 1024
FILL_BYTES = 1024 * 1024
SUFFIX = ".segment"
SPARE = ".spare"
FILLING = ".filling"
UNREADABLE = ".unreadable"
"""A segment whose first page is damaged: kept for whoever repairs it."""
CONTENT_DIRECTORY = "content"

_begin = struct.Struct("<8sHH")
_fields = struct.Struct("<8sHH4xQ8sQQQ")
_crc = struct.Struct("<I")


class Header(NamedTuple):
    """The facts on the first page of a segment."""

    generation: int
    tag: bytes
    previous_generation: int
    previous_end: int
    size: int


def encode_header(header: Header) -> bytes:
    """Give the whole first page."""
    data = _fields.pack(MAGIC, *LAYOUT, *header)
    return (data + _crc.pack(crc32(data))).ljust(PAGE, b"\0")


def decode_header(page: bytes, where: str = "segment") -> Header | None:
    """Read a first page; None if it is none. Raises `FormatRefused` for one of a release that is too new."""
    if len(page) < _fields.size + _crc.size:
        return None
    magic, version, compatible = _begin.unpack_from(page)
    if magic != MAGIC:
        return None
    if refusal := too_new(where, Layout(version, compatible), LAYOUT.version):
        raise FormatRefused(refusal)
    (crc,) = _crc.unpack_from(page, _fields.size)
    if crc != crc32(page[: _fields.size]):
        return None
    return Header(*_fields.unpack_from(page)[3:])


def segment_path(directory: Path, generation: int) -> Path:
    """Name the segment of a generation."""
    return directory / f"{generation:016d}{SUFFIX}"


def generations(disk: Disk, directory: Path) -> list[int]:
    """List the generations that have a file, oldest first."""
    names = disk.names(directory)
    return sorted(int(name[: -len(SUFFIX)]) for name in names if name.endswith(SUFFIX))


def fill_spare(disk: Disk, directory: Path, size: int) -> Path:
    """Make a file of zeros, written and synced step by step so that it does not delay a commit for long."""
    name = os.urandom(6).hex()
    draft = directory / f"{name}{FILLING}"
    fd = disk.open(draft, create=True, write=True)
    try:
        for offset in range(0, size, FILL_BYTES):
            disk.write(fd, (bytes(min(FILL_BYTES, size - offset)),), offset)
            disk.fdatasync(fd)
    except OSError:
        disk.unlink(draft)
        raise
    finally:
        disk.close(fd)
    spare = draft.with_suffix(SPARE)
    disk.rename(draft, spare)
    return spare


class SegmentReader:
    """Reads the records of one segment that lie below a given end."""

    def __init__(self, disk: Disk, directory: Path, generation: int) -> None:
        """Open the file; `header` is None if it holds no segment of this name.

        Raises `FileNotFoundError`, and `FormatRefused` for a segment of a release that is too new.
        """
        self.directory = directory
        self.path = segment_path(directory, generation)
        self.generation = generation
        self.damaged = 0
        """How many times octets had to be skipped that are neither a record nor padding."""
        self._disk = disk
        self._fd = disk.open(self.path)
        try:
            header = decode_header(disk.read(self._fd, PAGE, 0), str(self.path))
        except BaseException:
            disk.close(self._fd)
            raise
        self.header = header if header is not None and header.generation == generation else None
        self.size = disk.size(self._fd)

    def close(self) -> None:
        """Close the file."""
        self._disk.close(self._fd)

    def records(self, start: int, end: int, window: int = WINDOW_BYTES) -> Iterator[Record]:
        """Give each valid record between the two offsets, skipping what is not one.

        At most `window` octets are read at a time, or a page or a whole record where that is more.
        """
        if self.header is None:
            return
        tag, at = self.header.tag, max(start, PAGE)
        base, buffer = at, b""
        while at < end:
            length = needed(buffer, at - base, tag)
            if at + max(length, PAGE) > base + len(buffer) < end:
                wanted = min(max(length, window, PAGE), end - at)  # a record is known by its whole header only
                if base != at or len(buffer) < wanted:
                    base, buffer = at, self._disk.read(self._fd, wanted, at)
                    if len(buffer) < wanted:
                        self.damaged += 1  # the file is shorter than it was
                        end = at + len(buffer)
                    continue
            record = decode(buffer, at - base, tag, self.generation, at)
            if record is not None:
                at += record.length
                yield record
                continue
            found = buffer.find(tag, at - base + 1)
            after = base + found if found >= 0 else max(base + len(buffer) - len(tag) + 1, at + 1)
            self._note_gap(buffer, at - base, after - base, final=found < 0)
            at = after

    def _note_gap(self, buffer: bytes, start: int, end: int, *, final: bool) -> None:
        """Count damage: a gap that is not the padding of a batch."""
        if not final and (end - start >= PAGE or buffer.count(0, start, end) < end - start):
            self.damaged += 1

    def content(self, record: Record) -> ContentRef:
        """Say where the content of an `accepted` record lies."""
        if record.kind & SPILLED:
            path = self.directory / CONTENT_DIRECTORY / record.stored.decode()
            return ContentRef("file", path, 0, record.content_length, record.content_crc, self.generation)
        return ContentRef(
            "journal",
            self.path,
            record.content_offset,
            record.content_length,
            record.content_crc,
            self.generation,
        )
