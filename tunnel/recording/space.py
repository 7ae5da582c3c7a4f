"""Room on the disk: how much has to be free for a new session, and a ballast that lets old ones be closed.

The ballast is a file of real blocks that is given up when the disk is so full that a finished recording could not be
closed. Raises OSError.
"""

import errno
import os
from pathlib import Path

from core.disk import Disk

BALLAST = ".ballast"
SMALLEST, LARGEST = 1 << 20, 16 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)


class Space:
    """The file system of one directory of recordings."""

    def __init__(self, directory: Path, reserve: int) -> None:
        self._directory = directory
        self._reserve = reserve
        self._ballast = directory / BALLAST
        self._size = min(max(reserve // 16, SMALLEST), LARGEST) if reserve else 0

    def check(self) -> None:
        """See that a new session may begin. Raises OSError (ENOSPC) with less than the reserve."""
        free, _ = Disk().space(self._directory)
        if free < self._reserve:
            text = f"{free >> 20} MiB are free, {self._reserve >> 20} MiB have to be (recording_reserve)"
            raise OSError(errno.ENOSPC, text)

    def drop(self) -> bool:
        """Give the ballast up; false if there is none."""
        try:
            self._ballast.unlink()
        except FileNotFoundError:
            return False
        return True

    def keep(self) -> None:
        """Lay the ballast in again where there is none and room for it; blocks."""
        if not self._size or self._ballast.exists() or not self._directory.exists():
            return
        free, _ = Disk().space(self._directory)
        if free < self._reserve + self._size:
            return
        draft = self._ballast.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.rename(self._ballast)
