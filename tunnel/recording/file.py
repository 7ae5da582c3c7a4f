"""A recording's file: appended, synced, each piece sealed by the hash of all before it. Runs in a thread.

After each piece stands a marker of kind `chain`: how many octets stand before its line and their SHA-256. The last
line, of kind `close`, says the same about all that stands before it. A write that failed leaves the rest for the next
try, so that the file is at any time the beginning of what it will be. Raises OSError.

While it is written the file is locked (flock), so that others can tell a session that still runs from one that was cut.
"""

import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from core.disk import Disk
from tunnel.recording.tape import CHAIN, CLOSE, mark


def is_being_written(file: IO[bytes]) -> bool:
    """Tell whether a recorder writes this file now; on a file system without locks nobody can tell."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


class RecordingFile:
    """One file that is being written."""

    def __init__(self, path: Path, first: bytes) -> None:
        self.path = path
        self.octets = 0
        """Written so far."""
        self._prefix = hashlib.sha256()
        self._whole = hashlib.sha512()
        self._rest = b""
        self._links = 0
        self._named = False
        self._closed = False
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks keeps recordings all the same
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            self._write(first)
        except OSError:
            os.close(self._descriptor)
            path.unlink()
            raise

    @property
    def waiting(self) -> int:
        """Octets that the disk has not taken."""
        return len(self._rest)

    def append(self, data: bytes, at_s: float, close: dict[str, Any] | None = None) -> None:
        """Write and sync a piece with its link; with `close` also the last line."""
        if data:
            self._write(data)
        if close is not None and not self._closed:
            self._closed = True
            self._write(self._link(at_s, CLOSE, close))
        elif data:
            self._links += 1
            self._write(self._link(at_s, CHAIN, {"n": self._links}))
        elif self._rest:
            self._write(b"")
        os.fsync(self._descriptor)
        if not self._named:
            Disk().fsync_directory(self.path.parent)
            self._named = True

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return self._prefix.hexdigest()

    @property
    def digest(self) -> bytes:
        """SHA-512 of the file, which is what is signed."""
        return self._whole.digest()

    def _link(self, at_s: float, kind: str, facts: dict[str, Any]) -> bytes:
        return mark(at_s, kind, {**facts, "octets": self.octets + len(self._rest), "sha256": self.sha256})

    def _write(self, data: bytes) -> None:
        # Hashed when it is meant to be in the file: the rest of a failed write follows before anything else does.
        self._prefix.update(data)
        self._whole.update(data)
        left = memoryview(self._rest + data)
        try:
            while left:
                written = os.write(self._descriptor, left)
                self.octets += written
                left = left[written:]
        finally:
            self._rest = bytes(left)
