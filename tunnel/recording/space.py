"""Room on the disk: how much has to be free for a new session, and a ballast that lets old ones be closed.

Used by the recorder and its upkeep. Raises OSError.
"""

import errno
from pathlib import Path

from core.ballast import FULL, Ballast
from core.disk import Disk

__all__ = ["BALLAST", "FULL", "Space"]

BALLAST = ".ballast"
SMALLEST, LARGEST = 1 << 20, 16 << 20


class Space:
    """The file system of one directory of recordings."""

    def __init__(self, directory: Path, reserve: int) -> None:
        self._directory = directory
        self._reserve = reserve
        self._ballast = Ballast(directory / BALLAST, min(max(reserve // 16, SMALLEST), LARGEST) if reserve else 0)
        self.drop = self._ballast.drop
        """Give the ballast up; false if there is none."""

    def check(self) -> None:
        """See that a new session may begin. Raises OSError (ENOSPC) with less than the reserve."""
        free, _ = Disk().space(self._directory)
        if free < self._reserve:
            text = f"{free >> 20} MiB are free, {self._reserve >> 20} MiB have to be (recording_reserve)"
            raise OSError(errno.ENOSPC, text)

    def keep(self) -> None:
        """Lay the ballast in again where there is none and room for it; blocks."""
        self._ballast.lay(self._reserve)
