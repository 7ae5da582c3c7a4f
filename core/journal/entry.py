"""What a reader of a journal gets: positions, entries, and references to content that lies on the disk.

Used by the queue, by recovery and by whoever reads content again for a later attempt. The octets behind a
`ContentRef` stay where they are until the reader has acknowledged the segment that names them.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from core.disk import Disk
from core.journal.error import JournalDamaged

READ_BYTES = 256 * 1024
_position = struct.Struct("<QQ")


class Position(NamedTuple):
    """A place in a journal: everything before it was read. (0, 0) is the beginning. Ordered."""

    generation: int = 0
    offset: int = 0

    def encode(self) -> bytes:
        """Give 16 octets to store."""
        return _position.pack(self.generation, self.offset)

    @classmethod
    def decode(cls, data: bytes) -> "Position":
        """Read what `encode` gave."""
        return cls(*_position.unpack(data))


class ContentRef(NamedTuple):
    """Where content lies: within a segment (`journal`) or in a file of its own (`file`)."""

    kind: str
    path: Path
    offset: int
    length: int
    crc: int
    generation: int
    """Segment whose acknowledgement ends the life of this content."""


class Entry(NamedTuple):
    """One message that has an outcome."""

    position: Position
    """Where reading goes on after this entry."""
    mid: int
    accepted: bytes
    content: ContentRef
    outcome: bytes
    data: bytes | None
    """The content itself where it was read along (accepted and outcome in one record), else None."""


class Recovered(NamedTuple):
    """One accepted message without an outcome, to be run through the pipeline again."""

    mid: int
    accepted: bytes
    content: ContentRef


def open_content(ref: ContentRef, disk: Disk | None = None) -> Iterator[bytes]:
    """Give the octets in steps of up to 256 KiB; blocking. Raises `JournalDamaged` at the end if they changed.

    A content file may have been moved into the reader's own store: `ref._replace(path=…)` names it there.
    """
    disk = disk or Disk()
    fd = disk.open(ref.path)
    crc = 0
    try:
        for start in range(0, ref.length, READ_BYTES):
            wanted = min(READ_BYTES, ref.length - start)
            data = disk.read(fd, wanted, ref.offset + start)
            if len(data) < wanted:
                raise JournalDamaged(f"{ref.path}: ends before octet {ref.offset + ref.length}")
            crc = crc32(data, crc)
            yield data
    finally:
        disk.close(fd)
    if crc != ref.crc:
        raise JournalDamaged(f"{ref.path}: content at {ref.offset} is not what was written")


def read_content(ref: ContentRef, disk: Disk | None = None) -> bytes:
    """Give all octets at once; blocking. Raises `OSError` and `JournalDamaged`."""
    return b"".join(open_content(ref, disk))
