"""A disk in memory that forgets, tears and fails like a real one.

What was written is seen at once (the page cache), but survives `power_cut` only if its file was synced; a created,
renamed or removed name only if its directory was. Pages that were not synced come back old, new, half of each, or
zeroed, each for itself. A failed `fdatasync` leaves pages that look written, are called clean, and are not on the
disk, as Linux does. `process_death` loses nothing but descriptors and locks.
"""

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.disk import Buffer, Disk

PAGE = 4096
SECTOR = 512


class PowerCutError(BaseException):
    """Raised by a hook in the middle of an operation: nothing above may handle it."""


@dataclass
class Inode:
    current: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: set[int] = field(default_factory=set)

    def page(self, number: int, *, durable: bool) -> bytes:
        data = (self.durable if durable else self.current)[number * PAGE : (number + 1) * PAGE]
        return bytes(data)

    def persist(self, number: int, data: bytes) -> None:
        start = number * PAGE
        if len(self.durable) < start:
            self.durable.extend(bytes(start - len(self.durable)))
        self.durable[start : start + len(data)] = data

    def touch(self, start: int, end: int) -> None:
        self.dirty.update(range(start // PAGE, (end + PAGE - 1) // PAGE))


class MappedInode:
    """A mapping shared by all who map the same file."""

    def __init__(self, inode: Inode) -> None:
        self._inode = inode

    def __getitem__(self, index: slice) -> bytes:
        return bytes(self._inode.current[index])

    def __setitem__(self, index: slice, value: bytes) -> None:
        self._inode.current[index] = value
        self._inode.touch(index.start, index.stop)

    def close(self) -> None:
        """Nothing is held."""


class SimulatedDisk(Disk):
    """`hook(call, path)` runs before each call and may raise `OSError` or `PowerCutError`."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.hook: Callable[[str, Path], None] = lambda _call, _path: None
        self.free = 10**12
        self.calls: list[tuple[str, Path]] = []
        self._names: dict[Path, Inode] = {}
        self._durable_names: dict[Path, Inode] = {}
        self._changes: list[tuple[Path, Path | None, Inode | None]] = []
        self._open: dict[int, tuple[Path, Inode]] = {}
        self._locks: dict[int, Path] = {}
        self._next = 3

    # What the journal calls.

    def open(self, path: Path, *, create: bool = False, write: bool = False, mode: int = 0o640) -> int:
        self._call("open", path)
        if create:
            if path in self._names:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            self._link(path, Inode())
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self._descriptor(path)

    def close(self, fd: int) -> None:
        self._locks.pop(fd, None)
        del self._open[fd]

    def read(self, fd: int, length: int, offset: int) -> bytes:
        return bytes(self._open[fd][1].current[offset : offset + length])

    def write(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        path, inode = self._open[fd]
        data = b"".join(buffers)
        try:
            self._call("write", path)
        except (OSError, PowerCutError):
            self._put(inode, data[: self.chance.randrange(len(data) + 1)], offset)
            raise
        self._put(inode, data, offset)
        return len(data)

    def fdatasync(self, fd: int) -> None:
        path, inode = self._open[fd]
        try:
            self._call("fdatasync", path)
        except OSError:
            self.write_back(inode)
            inode.dirty.clear()
            raise
        for number in inode.dirty:
            inode.persist(number, inode.page(number, durable=False))
        inode.dirty.clear()
        del inode.durable[len(inode.current) :]

    def size(self, fd: int) -> int:
        return len(self._open[fd][1].current)

    def rename(self, old: Path, new: Path) -> None:
        self._call("rename", new)
        inode = self._names.pop(old, None)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(old))
        self._names[new] = inode
        self._changes.append((old, new, inode))

    def unlink(self, path: Path) -> None:
        self._call("unlink", path)
        if self._names.pop(path, None) is not None:
            self._changes.append((path, None, None))

    def fsync_directory(self, directory: Path) -> None:
        self._call("fsync_directory", directory)
        kept = [change for change in self._changes if change[0].parent != directory]
        self._apply([change for change in self._changes if change[0].parent == directory])
        self._changes = kept

    def make_directory(self, directory: Path) -> None:
        """Directories are always there."""

    def names(self, directory: Path) -> list[str]:
        return [path.name for path in self._names if path.parent == directory]

    def map(self, path: Path, size: int, *, write: bool = False) -> Buffer:
        if path not in self._names:
            if not write:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            self._link(path, Inode())
        inode = self._names[path]
        if len(inode.current) < size:
            if not write:
                raise OSError(f"{path}: too short to map")
            self._put(inode, bytes(size - len(inode.current)), len(inode.current))
        return MappedInode(inode)

    def lock(self, path: Path, *, wait: bool = False) -> int:
        if path in self._locks.values():
            raise BlockingIOError(errno.EWOULDBLOCK, "locked", str(path))
        if path not in self._names:
            self._link(path, Inode())
        fd = self._descriptor(path)
        self._locks[fd] = path
        return fd

    def space(self, directory: Path) -> tuple[int, int]:
        return self.free, 10**12

    # What a test does to it.

    def write_back(self, inode: Inode | None = None) -> None:
        """Have the kernel write some dirty pages by itself, in no order."""
        for each in [inode] if inode else list(self._names.values()):
            for number in sorted(each.dirty):
                if self.chance.random() < 0.5:
                    each.persist(number, each.page(number, durable=False))
                    if inode is None:
                        each.dirty.discard(number)

    def process_death(self) -> None:
        """Lose descriptors and locks, as kill -9 does."""
        self._open.clear()
        self._locks.clear()

    def power_cut(self) -> None:
        """Lose what was not synced, page by page and name by name."""
        self.process_death()
        by_directory: dict[Path, list[tuple[Path, Path | None, Inode | None]]] = {}
        for change in self._changes:
            by_directory.setdefault(change[0].parent, []).append(change)
        for changes in by_directory.values():
            self._apply(changes[: self.chance.randrange(len(changes) + 1)])
        self._changes = []
        for inode in self._durable_names.values():
            self._lose(inode)
        self._names = dict(self._durable_names)

    def _lose(self, inode: Inode) -> None:
        if len(inode.durable) < len(inode.current) and self.chance.random() < 0.5:
            inode.durable.extend(bytes(len(inode.current) - len(inode.durable)))
        for number in inode.dirty:
            old, new = inode.page(number, durable=True), inode.page(number, durable=False)
            if old != new and number * PAGE < len(inode.durable):
                inode.persist(number, self._mixed(old, new)[: len(inode.durable) - number * PAGE])
        inode.dirty.clear()
        inode.current = bytearray(inode.durable)

    def _mixed(self, old: bytes, new: bytes) -> bytes:
        old = old.ljust(len(new), b"\0")
        match self.chance.randrange(4):
            case 0:
                return old
            case 1:
                return new
            case 2:
                return bytes(len(new))
        return b"".join(self.chance.choice((old, new))[at : at + SECTOR] for at in range(0, len(new), SECTOR))

    def _call(self, name: str, path: Path) -> None:
        self.calls.append((name, path))
        self.hook(name, path)

    def _link(self, path: Path, inode: Inode) -> None:
        self._names[path] = inode
        self._changes.append((path, path, inode))

    def _descriptor(self, path: Path) -> int:
        self._next += 1
        self._open[self._next] = (path, self._names[path])
        return self._next

    def _put(self, inode: Inode, data: bytes, offset: int) -> None:
        if len(inode.current) < offset:
            inode.current.extend(bytes(offset - len(inode.current)))
        inode.current[offset : offset + len(data)] = data
        if data:
            inode.touch(offset, offset + len(data))

    def _apply(self, changes: Sequence[tuple[Path, Path | None, Inode | None]]) -> None:
        for old, new, inode in changes:
            self._durable_names.pop(old, None)
            if new is not None and inode is not None:
                self._durable_names[new] = inode
