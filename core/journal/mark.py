"""The durable mark: up to where the records of a journal are on the disk, for readers in other processes.

The owner publishes (generation, offset) after each successful `fdatasync`, in a small file that it and the readers
map. Publishing costs no system call, and the mark file itself is never synced.

Why it can never be ahead of what is durable, whatever happens to its own pages:

- A value is stored only after the sync that makes it true has returned, and once true it stays true: durable
  octets of a generation are never written again, and a generation number never comes twice. So any value that
  was ever published, however old, is still a correct lower bound. A power cut may bring back an older mark or
  none; it cannot bring back one that was not published.
- A slot that is half old and half new, zeroed or foreign fails its CRC and is ignored; the other of the two slots,
  written in turn, is used. If neither is valid a reader takes nothing until the owner, having recovered and
  synced, publishes again.
- The mark says nothing about where a segment ends. Recovery therefore never uses it to throw records away, and a
  reader learns the end of a finished segment from the header of the next one.
"""

import struct
from pathlib import Path
from zlib import crc32

from core.disk import Disk
from core.journal.entry import Position

NAME = "mark"
SLOT_BYTES = 64
MAP_BYTES = 4096
ATTEMPTS = 50

_value = struct.Struct("<QQQ")
_crc = struct.Struct("<I")
_SEED = crc32(b"gatepost durable mark")
_slot_bytes = _value.size + _crc.size


def _encode(sequence: int, position: Position) -> bytes:
    data = _value.pack(sequence, *position)
    return data + _crc.pack(crc32(data, _SEED))


def _decode(data: bytes) -> tuple[int, Position] | None:
    sequence, generation, offset = _value.unpack_from(data)
    (crc,) = _crc.unpack_from(data, _value.size)
    if not sequence or crc != crc32(data[: _value.size], _SEED):
        return None
    return sequence, Position(generation, offset)


class MarkWriter:
    """The owner's side; one writer per journal, protected by the journal's lock."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        self._map = disk.map(directory / NAME, MAP_BYTES, write=True)
        slots = [_decode(self._map[at : at + _slot_bytes]) for at in (0, SLOT_BYTES)]
        best = max((slot for slot in slots if slot), default=(0, Position()))
        self._sequence, self.position = best

    def publish(self, position: Position) -> None:
        """Tell readers that everything before `position` is on the disk."""
        self.position = position
        self._sequence += 1
        at = SLOT_BYTES * (self._sequence & 1)
        self._map[at : at + _slot_bytes] = _encode(self._sequence, position)

    def close(self) -> None:
        """Give the mapping back; nothing can be published any more."""
        self._map.close()


class MarkReader:
    """A reader's side."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        """Map the file. Raises `OSError` while there is none."""
        self._map = disk.map(directory / NAME, MAP_BYTES)
        self._seen = b""
        self._position: Position | None = None

    def read(self) -> Position | None:
        """Give the newest valid mark, None if there is none."""
        for _ in range(ATTEMPTS):
            data = self._map[0 : SLOT_BYTES + _slot_bytes]
            if self._position is not None and data == self._seen:
                return self._position
            slots = (_decode(data[:_slot_bytes]), _decode(data[SLOT_BYTES:]))
            best = max((slot for slot in slots if slot), default=None)
            if best is not None:
                self._seen, self._position = data, best[1]
                return best[1]
        return None

    def close(self) -> None:
        """Give the mapping back."""
        self._map.close()
