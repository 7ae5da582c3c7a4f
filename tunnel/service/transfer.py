"""A file that support fetches or puts, from its opening to its end.

Used by `files.py`. One request at a time works on a file, so that a descriptor is never closed, and given to another
file, while somebody reads from it. What was put gets its name when it is complete, or leaves nothing.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import asyncssh


@dataclass(slots=True, eq=False)
class Transfer:
    """A file that is open."""

    path: str
    descriptor: int
    folder: int = -1
    """Descriptor of the folder that a new file is put into; -1 for one that is read."""
    part: bytes = b""
    name: bytes = b""
    octets: int = 0
    failed: bool = False
    closed: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One at a time: a descriptor is not to be closed, and given to another file, while somebody reads from it."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What became of a file."""

    way: str
    path: str
    octets: int
    sha256: str
    whole: bool


@asynccontextmanager
async def turn(transfer: Transfer) -> AsyncIterator[None]:
    """Have the file to oneself. Raises SFTPInvalidHandle if it is closed."""
    async with transfer.turn:
        if transfer.closed:
            raise asyncssh.SFTPInvalidHandle("this file was closed")
        yield


def settled(transfer: Transfer) -> Passed:
    """Close a file that was put; give it its name if it is complete, remove it if it is not. Blocks."""
    octets, digest, whole = 0, "", False
    try:
        octets, digest = _hashed(transfer.descriptor)
        if not transfer.failed:
            os.fsync(transfer.descriptor)
            ends = {"src_dir_fd": transfer.folder, "dst_dir_fd": transfer.folder}
            # A link does not replace what is there, as a rename would.
            os.link(transfer.part, transfer.name, follow_symlinks=False, **ends)
            whole = True
    except FileExistsError:
        raise asyncssh.SFTPFailure("there is a file of that name by now; it is not replaced") from None
    finally:
        with suppress(OSError):
            os.unlink(transfer.part, dir_fd=transfer.folder)
        with suppress(OSError):
            os.fsync(transfer.folder)
        os.close(transfer.descriptor)
        os.close(transfer.folder)
    return Passed("put", transfer.path, octets, digest, whole)


def fetched(transfer: Transfer) -> Passed:
    """Close a file that was fetched. Blocks."""
    try:
        size = os.fstat(transfer.descriptor).st_size
        digest = _hashed(transfer.descriptor)[1] if transfer.octets or not size else ""
    finally:
        os.close(transfer.descriptor)
    return Passed("get", transfer.path, transfer.octets, digest, not transfer.failed and transfer.octets >= size)


def _hashed(descriptor: int) -> tuple[int, str]:
    """Read a whole file; gives its octets and its SHA-256."""
    digest, offset = hashlib.sha256(), 0
    while data := os.pread(descriptor, 1 << 20, offset):
        digest.update(data)
        offset += len(data)
    return offset, digest.hexdigest()
