"""Following a log that is being written, through its roll-overs, from a place that can be remembered.

Used by `tail` and by the push to a syslog host. The reader finds its file again by inode among the saved ones, so no
line is missed as long as the file is kept; what was pruned before it was read is counted. Raises `OSError`.
"""

import os
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from core.disk import open_regular
from core.log.reading import BLOCK, files_of


class Place(NamedTuple):
    """Where a reader is: which file, and how far in it."""

    inode: int
    offset: int


class Follower:
    """One reader of one log."""

    def __init__(self, path: Path, place: Place | None = None) -> None:
        """Begin at `place`, or at the end of what there is."""
        self.path = path
        self.missed = 0
        """How often files went before they were read to their end."""
        self._file: FileIO | None = None
        self._inode = 0
        self._offset = 0
        self._part = b""
        if place is None:
            self._open(path, None)
        else:
            self._resume(place)

    @property
    def place(self) -> Place:
        """The place behind the last whole line given."""
        return Place(self._inode, self._offset)

    def read(self, most: int = BLOCK) -> bytes:
        """Give whole lines that have come, about `most` octets; empty when there are none."""
        while True:
            if self._file is None and not self._open(self.path, 0):
                return b""
            assert self._file is not None
            data = self._file.read(most)
            if data:
                whole, end, self._part = (self._part + data).rpartition(b"\n")
                if end:
                    self._offset += len(whole) + 1
                    return whole + end
            elif not self._go_on():
                return b""

    def behind(self) -> int:
        """Give how many octets of the file at hand are unread."""
        return os.fstat(self._file.fileno()).st_size - self._offset if self._file is not None else 0

    def skip(self) -> int:
        """Go to the end of the file at hand; give how many octets that leaves out."""
        octets = self.behind()
        if self._file is not None:
            self._file.seek(0, 2)
            self._offset, self._part = self._file.tell(), b""
        return octets

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _go_on(self) -> bool:
        """At the end of a file: open the next one, if this one is not written any more."""
        try:
            if self.path.stat().st_ino == self._inode:
                return False
        except FileNotFoundError:
            return False
        assert self._file is not None
        if os.fstat(self._file.fileno()).st_size > self._file.tell():
            return True  # written between the last read and the roll-over
        return self._open(self._after(self._inode), 0)

    def _after(self, inode: int) -> Path:
        files = files_of(self.path)
        inodes = [_inode_of(file) for file in files]
        if inode in inodes[:-1]:
            return files[inodes.index(inode) + 1]
        self.missed += 1
        return files[0] if files else self.path

    def _resume(self, place: Place) -> None:
        for file in files_of(self.path):
            if _inode_of(file) == place.inode and file.stat().st_size >= place.offset:
                self._open(file, place.offset)
                return
        self.missed += 1
        self._open(next(iter(files_of(self.path)), self.path), 0)

    def _open(self, path: Path, offset: int | None) -> bool:
        self.close()
        try:
            file = open_regular(path)
        except FileNotFoundError:
            return False
        self._file = file
        self._inode = os.fstat(file.fileno()).st_ino
        self._offset = file.seek(0, 2) if offset is None else file.seek(offset)
        self._part = b""
        return True


def _inode_of(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
