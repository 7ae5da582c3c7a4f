"""A file of real blocks that is given up when a disk is full, so that what must be written still can be.

Used by the audit log and by recordings. The methods block and raise OSError.
"""

import errno
import os
from pathlib import Path

from core.disk import Disk

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What a write says when it has no room."""


class Ballast:
    """One such file; size 0 = none."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def drop(self) -> bool:
        """Give it up; false if it was given up before."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True

    def lay(self, left: int = 0) -> None:
        """Lay it in again where it is missing and `left` octets would be free beside it."""
        if not self._size or self._path.exists() or not self._path.parent.exists():
            return
        free, _ = Disk().space(self._path.parent)
        if free < left + self._size:
            return
        draft = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
            os.fsync(descriptor)
        except OSError:
            draft.unlink()
            raise
        finally:
            os.close(descriptor)
        draft.rename(self._path)
