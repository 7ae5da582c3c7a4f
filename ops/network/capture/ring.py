"""The files of one capture: ten parts at most, each a whole pcap file, the oldest of which goes when a new one begins.

Takes what tcpdump writes on its standard output and cuts it between packets. Used by the keeper, which blocks; the
standard library only. Raises `OSError` for a disk that takes no more: what was written until then ends with a whole
packet, and `RingFull` where nothing may be dropped.
"""

import os
import struct
from collections import deque
from pathlib import Path

HEADER = 24
_RECORD = struct.Struct("=IIII")
_MAGIC = {0xA1B2C3D4, 0xA1B23C4D}
_PACKET_LIMIT = 1 << 20


class RingFull(Exception):
    """The maximum size is reached."""


class NotAPcap(Exception):
    """What came is not what tcpdump writes."""


class Ring:
    """Writes one capture."""

    def __init__(self, folder: Path, name: str, *, max_bytes: int, parts: int, drop: bool = True) -> None:
        """`name` is that of the files without their ending; `drop` lets the oldest part go."""
        self._folder = folder
        self._name = name
        self._part_bytes = max(max_bytes // parts, HEADER + 1)
        self._most = parts
        self._drop = drop
        self._waiting = bytearray()
        self._header = b""
        self._files: deque[tuple[Path, int]] = deque()
        self._descriptor = -1
        self._size = 0
        self._number = 0
        self.packets = 0
        self.dropped_parts = 0

    @property
    def octets(self) -> int:
        """What is on the disk now."""
        return sum(size for _, size in self._files) + self._size

    def write(self, data: bytes) -> None:
        """Take octets as they come; whole packets go to the disk."""
        self._waiting += data
        if not self._header:
            if len(self._waiting) < HEADER:
                return
            self._header = bytes(self._waiting[:HEADER])
            if struct.unpack_from("=I", self._header)[0] not in _MAGIC:
                raise NotAPcap
            del self._waiting[:HEADER]
            self._begin()
        self._put(self._whole())

    def _whole(self) -> list[tuple[int, int]]:
        """Find the packets that are complete: where each begins and ends."""
        found, at, end = [], 0, len(self._waiting)
        while at + _RECORD.size <= end:
            length = _RECORD.unpack_from(self._waiting, at)[2]
            if length > _PACKET_LIMIT:
                raise NotAPcap
            after = at + _RECORD.size + length
            if after > end:
                break
            found.append((at, after))
            at = after
        return found

    def _put(self, packets: list[tuple[int, int]]) -> None:
        """Write packets in as few pieces as the parts allow."""
        start = at = 0
        for begin, after in packets:
            if self._size + (after - start) > self._part_bytes and self._size + (begin - start) > HEADER:
                self._append(start, begin)
                start = begin
                self._next()
            self.packets += 1
            at = after
        self._append(start, at)
        del self._waiting[:at]

    def _append(self, start: int, end: int) -> None:
        data = memoryview(self._waiting)[start:end]
        size = self._size
        try:
            while data:
                written = os.write(self._descriptor, data)
                data = data[written:]
                self._size += written
        except OSError:
            os.ftruncate(self._descriptor, size)  # may cut packets that were whole: the file stays readable
            self._size = size
            raise
        finally:
            data.release()

    def _next(self) -> None:
        if len(self._files) + 1 >= self._most:
            if not self._drop:
                raise RingFull
            oldest, _ = self._files.popleft()
            oldest.unlink(missing_ok=True)
            self.dropped_parts += 1
        self._files.append((self._path(), self._size))
        self._close()
        self._number += 1
        self._begin()

    def _path(self) -> Path:
        return self._folder / f"{self._name}.{self._number:03d}.pcap"

    def _begin(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self._path(), flags, 0o640)
        os.write(self._descriptor, self._header)
        self._size = HEADER

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def end(self) -> None:
        """Close the last part."""
        self._close()
