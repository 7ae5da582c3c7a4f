"""Everything that the durable parts of Gatepost ask of a file system, in one replaceable object.

The journal, received content, id blocks and small files go through a `Disk`, so that a fault test can record each
call, fail it, or stand in a simulated disk that forgets what was not synced. The methods raise `OSError` and nothing
else. No method may be called on the event loop except where its caller says why that is short.
"""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Protocol

IOV_MAX = 1024
COUNTED = 40 << 30
"""Of a larger file system only this much is counted, in octets: nobody wants 200 GiB of a 4 TiB disk kept free."""


class Buffer(Protocol):
    """What `map` gives: bytes that other processes see at once."""

    def __getitem__(self, index: slice, /) -> bytes: ...

    def __setitem__(self, index: slice, value: bytes, /) -> None: ...

    def close(self) -> None: ...


class FileAccess:
    """Calls on open files. Descriptors are integers that only this object understands."""

    def open(self, path: Path, *, create: bool = False, write: bool = False, mode: int = 0o640) -> int:
        """Open a file; `create` demands that it does not exist yet, and gives it `mode`."""
        flags = os.O_CLOEXEC | (os.O_RDWR if write else os.O_RDONLY)
        return os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0), mode)

    def close(self, fd: int) -> None:
        """Close; the descriptor is gone even if this raises."""
        os.close(fd)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Read `length` octets at `offset`; fewer only at the end of the file."""
        data = os.pread(fd, length, offset)
        while data and len(data) < length:
            more = os.pread(fd, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        """Write all buffers one after the other at `offset`, all or an error; gives the number of octets."""
        total = sum(map(len, buffers))
        if len(buffers) > IOV_MAX:
            buffers = (b"".join(buffers),)
        written = os.pwritev(fd, buffers, offset)
        if written < total:
            rest = memoryview(b"".join(buffers))
            while written < total:
                written += os.pwrite(fd, rest[written:], offset + written)
        return total

    def fdatasync(self, fd: int) -> None:
        """Wait until the file's data and size are on the disk."""
        os.fdatasync(fd)

    def own(self, fd: int, user: int, group: int) -> None:
        """Give a file to a user and a group; only root may."""
        os.fchown(fd, user, group)

    def size(self, fd: int) -> int:
        """Give the file's length in octets."""
        return os.fstat(fd).st_size


class Disk(FileAccess):
    """The real thing: `FileAccess`, and calls that take names."""

    def rename(self, old: Path, new: Path) -> None:
        """Rename, replacing `new`. Durable after `fsync_directory`."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file; one that is not there is no error."""
        path.unlink(missing_ok=True)

    def fsync_directory(self, directory: Path) -> None:
        """Make created, renamed and removed names of a directory durable."""
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def make_directory(self, directory: Path) -> None:
        """Create a directory and its parents where missing, durably."""
        missing = [place for place in (directory, *directory.parents) if not place.exists()]
        directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        for place in missing:
            self.fsync_directory(place.parent)

    def names(self, directory: Path) -> list[str]:
        """List a directory in no particular order."""
        return os.listdir(directory)

    def map(self, path: Path, size: int, *, write: bool = False) -> Buffer:
        """Map the first `size` octets of a file, shared with all processes; `write` creates and extends it."""
        fd = os.open(path, (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY) | os.O_CLOEXEC, 0o640)
        try:
            if write and (length := os.fstat(fd).st_size) < size:
                # Not ftruncate: on a full disk the first store into a hole would end the process with SIGBUS.
                os.pwrite(fd, bytes(size - length), length)
            return mmap.mmap(fd, size, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)
        except ValueError as short:
            raise OSError(f"{path}: {short}") from short
        finally:
            os.close(fd)

    def lock(self, path: Path, *, wait: bool = False) -> int:
        """Take the exclusive lock on a file, created if missing. Raises `BlockingIOError` if it is taken."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            os.close(fd)
            raise
        return fd

    def space(self, directory: Path) -> tuple[int, int]:
        """Give (free for ordinary users, total) octets of the file system."""
        facts = os.statvfs(directory)
        return facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize


def share(part: float, total: int) -> int:
    """Give the octets that `part` (0 to 1) of a file system of `total` octets stands for, as far as it is counted."""
    return int(min(total, COUNTED) * part)


def used_percent(free: int, total: int) -> float:
    """Give how full a file system is, 0 to 100, as far as it is counted: 0 with 40 GiB free."""
    counted = min(total, COUNTED)
    return 100.0 * (counted - min(free, counted)) / counted if counted else 0.0


def open_regular(path: Path) -> FileIO:
    """Open a file to read it. Raises `OSError`, also for what is no file: a pipe would keep its reader for ever."""
    return FileIO(path, opener=_regular)


def read_octets(path: Path) -> bytes:
    """Read a file whole. Raises `OSError`, also for what is no file."""
    with open_regular(path) as file:
        return file.readall()


def read_text(path: Path) -> str:
    """Read a text file whole. Raises `OSError`, also for what is no file, and `UnicodeDecodeError`."""
    with open(path, encoding="utf-8", opener=_regular) as file:
        return file.read()


def _regular(path: str, flags: int) -> int:
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a file", os.fspath(path))
    return fd


def read_file(disk: Disk, path: Path) -> bytes:
    """Read a small file whole; empty if it does not exist."""
    try:
        fd = disk.open(path)
    except FileNotFoundError:
        return b""
    try:
        return disk.read(fd, disk.size(fd), 0)
    finally:
        disk.close(fd)


def replace_file(
    disk: Disk, path: Path, data: bytes, *, mode: int = 0o640, owner: tuple[int, int] | None = None
) -> None:
    """Put `data` in the place of a file, durably: a crash leaves the old or the new content, whole.

    `owner` is the user and the group that it shall belong to, where root writes. For one writer at a time; where there
    may be several they need a lock. Raises `OSError`.
    """
    draft = path.with_name(path.name + ".new")
    disk.unlink(draft)
    fd = disk.open(draft, create=True, write=True, mode=mode)
    try:
        if owner is not None:
            disk.own(fd, *owner)
        disk.write(fd, (data,), 0)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)
    disk.rename(draft, path)
    disk.fsync_directory(path.parent)
