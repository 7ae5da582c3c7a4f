"""Numbers that never come twice: MID, ICID, DCID and journal generations, shared by the processes of a machine.

A counter file holds the first number that nobody has, and its lock file a copy. A process takes a block by writing
the number after it, durably and under a lock, before it uses the first: what it does not use before it ends is lost,
not reused. A counter that began again from 1 would give a message the number of another that still waits, and one of
them would be lost. No order between processes is promised. `next` is cheap; the next block is reserved by a thread
ahead of need.
"""

import contextlib
import threading
from pathlib import Path

from core.disk import Disk, read_file, replace_file
from core.errors import GatepostError
from core.killpoint import killpoint

BLOCK = 1000


class IdBlocks:
    """Gives out the numbers of one counter file. Any thread may call `next`."""

    def __init__(self, path: Path, *, block: int = BLOCK, floor: int = 1, disk: Disk | None = None) -> None:
        """Use the counter at `path`, made if missing (its directory must exist); no number is below `floor`."""
        self._path = path
        self._block = block
        self._floor = floor
        self._disk = disk or Disk()
        self._lock = threading.Lock()
        self._next = self._end = 0
        self._ahead: threading.Thread | None = None
        self._spare = 0

    def next(self) -> int:
        """Give a number that was never given before. Raises `OSError` if no block can be reserved."""
        with self._lock:
            if self._next == self._end:
                self._open_block()
            number = self._next
            self._next += 1
            if self._end - self._next == self._block // 4 and self._block >= BLOCK:
                self._look_ahead()
            return number

    def _look_ahead(self) -> None:
        thread = threading.Thread(target=self._reserve_ahead, name="id block", daemon=True)
        with contextlib.suppress(RuntimeError):  # no memory for a thread: `next` reserves when it needs the block
            thread.start()
            self._ahead = thread

    @property
    def last(self) -> int:
        """The number given last by this process, 0 before the first."""
        return max(0, self._next - 1)

    def _open_block(self) -> None:
        if self._ahead is not None:
            self._ahead.join()
            self._ahead = None
        first, self._spare = self._spare or self._reserve(), 0
        self._next, self._end = first, first + self._block

    def _reserve_ahead(self) -> None:
        try:
            self._spare = self._reserve()
        except OSError:
            self._spare = 0  # `next` tries again when it needs the block, and reports

    def _reserve(self) -> int:
        lock = self._disk.lock(self._path.with_name(self._path.name + ".lock"), wait=True)
        try:
            first = max(self._stored(lock), self._floor)
            following = b"%d\n" % (first + self._block)
            replace_file(self._disk, self._path, following)
            self._disk.write(lock, (following,), 0)
            killpoint("ids.reserved")
            return first
        finally:
            self._disk.close(lock)

    def _stored(self, lock: int) -> int:
        """Read the counter; the lock file holds a second copy, for a counter that somebody emptied or removed."""
        copy = _number(self._disk.read(lock, 32, 0))
        text = read_file(self._disk, self._path)
        if stored := _number(text):
            return max(stored, copy)
        if not copy and (text or self._path.name in self._disk.names(self._path.parent)):
            raise GatepostError(f"{self._path}: not a counter; write the next unused number into it")
        return copy or 1


def _number(text: bytes) -> int:
    return int(text) if text.strip().isdigit() else 0
