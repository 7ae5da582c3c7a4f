"""One record of a segment as octets: a header of 64, the accepted document, the outcome document, the content.

    tag 8         random number of this use of the segment; what marks the start of a record
    crc 4         CRC-32 of the rest of the header, both documents and, for spilled content, its file name
    kind 1        bit 0: accepted, bit 1: outcome, bit 2: content is in a file of its own
    spare 3
    accepted 4, outcome 4, stored 4    lengths of the three parts that follow the header
    content_crc 4 CRC-32 of the content, stored here or in its file
    generation 8, offset 8, mid 8, content_length 8

All integers little-endian. Nothing about a record depends on what stands before it, so recovery never trusts order.
The tag keeps out what looks like a record but is none: octets of an earlier use of a recycled file, and mail whose
content quotes a journal. A sender cannot know it, and a segment mailed through its own gateway fails at the offset.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple
from zlib import crc32

from core.content import Content

PAGE = 4096
HEADER_BYTES = 64
ACCEPTED = 1
OUTCOME = 2
SPILLED = 4

_front = struct.Struct("<8sI")
_rest = struct.Struct("<B3xIIIIQQQQ")
_front_pack = _front.pack
_rest_pack = _rest.pack

Done = Callable[[Exception | None], None]


class Item:
    """One record on its way to the disk, with whom to tell."""

    __slots__ = ("accepted", "content", "done", "mid", "outcome")

    def __init__(self, mid: int, accepted: bytes, outcome: bytes, content: Content | None, done: Done) -> None:
        self.mid = mid
        self.accepted = accepted
        self.outcome = outcome
        self.content = content
        self.done = done


class Room(NamedTuple):
    """Where the next records go: from `offset` to `end` of one use of a segment."""

    generation: int
    tag: bytes
    offset: int
    end: int


class Batch(NamedTuple):
    """Encoded items, ready to be written at one place."""

    buffers: list[bytes]
    taken: int
    """How many of the items were taken."""
    length: int
    """A multiple of the page size."""
    spills: list[tuple[str, int]]
    """Names and lengths of the content files that the records name."""


def stored_bytes(item: Item) -> int:
    """Give the octets that an item takes in a segment."""
    content = item.content
    size = HEADER_BYTES + len(item.accepted) + len(item.outcome)
    if content is None:
        return size
    return size + (content.size if content.file is None else len(content.file.name))


def encode_batch(items: Sequence[Item], start: int, room: Room) -> Batch:
    """Encode `items[start:]`, as many as there is room for, filled up to whole pages.

    A page that was synced is never written again, so a power cut while a page is written can only harm records
    that nobody was told about.
    """
    buffers: list[bytes] = []
    spills: list[tuple[str, int]] = []
    generation, tag, at, end = room
    taken = 0
    for index in range(start, len(items)):
        item = items[index]
        length = stored_bytes(item)
        if at + length > end:
            break
        content = item.content
        accepted, outcome = item.accepted, item.outcome
        kind = (ACCEPTED if content is not None else 0) | (OUTCOME if outcome else 0)
        pieces: Sequence[bytes] = ()
        name = b""
        size = content_crc = 0
        if content is not None:
            size = content.size
            if content.file is not None:
                kind |= SPILLED
                name = content.file.name.encode()
                content_crc = content.crc
                spills.append((content.file.name, size))
            else:
                pieces = content.pieces()
                for piece in pieces:
                    content_crc = crc32(piece, content_crc)
        rest = b"".join(
            (
                _rest_pack(
                    kind,
                    len(accepted),
                    len(outcome),
                    len(name) or size,
                    content_crc,
                    generation,
                    at,
                    item.mid,
                    size,
                ),
                accepted,
                outcome,
                name,
            )
        )
        buffers.append(_front_pack(tag, crc32(rest)))
        buffers.append(rest)
        buffers.extend(pieces)
        at += length
        taken += 1
    padding = -at % PAGE
    if padding:
        buffers.append(bytes(padding))
    return Batch(buffers, taken, at + padding - room.offset, spills)


class Record(NamedTuple):
    """A record as read back, parts still within the buffer it was read into."""

    kind: int
    generation: int
    offset: int
    mid: int
    accepted: bytes
    outcome: bytes
    stored: bytes
    content_length: int
    content_crc: int
    length: int
    """Octets of the whole record; the next may stand at `offset + length`."""

    @property
    def content_offset(self) -> int:
        """Where the content, or its file name, stands in the segment."""
        return self.offset + self.length - len(self.stored)


def needed(buffer: bytes, at: int, tag: bytes) -> int:
    """Give the length that the record at `at` claims, 0 if none can start there."""
    if len(buffer) - at < HEADER_BYTES or buffer[at : at + 8] != tag:
        return 0
    _kind, accepted, outcome, stored, *_ = _rest.unpack_from(buffer, at + _front.size)
    return int(HEADER_BYTES + accepted + outcome + stored)


def decode(buffer: bytes, at: int, tag: bytes, generation: int, offset: int) -> Record | None:
    """Read the record at `at` of the buffer, `offset` of the segment; None if it is not whole and genuine."""
    length = needed(buffer, at, tag)
    if not length or at + length > len(buffer):
        return None
    crc = _front.unpack_from(buffer, at)[1]
    kind, accepted, outcome, stored, content_crc, made_in, made_at, mid, size = _rest.unpack_from(
        buffer, at + _front.size
    )
    if made_in != generation or made_at != offset:
        return None
    documents = at + HEADER_BYTES
    content = documents + accepted + outcome
    end = content + stored
    view = memoryview(buffer)
    spilled = kind & SPILLED
    if crc32(view[at + _front.size : end if spilled else content]) != crc:
        return None
    if not spilled and crc32(view[content:end]) != content_crc:
        return None
    return Record(
        kind,
        generation,
        offset,
        mid,
        buffer[documents : documents + accepted],
        buffer[documents + accepted : content],
        buffer[content:end],
        size,
        content_crc,
        length,
    )
