"""The folder that a backup is restored into: closed while it is written, and a machine all at once or not at all.

Everything is written into a folder within it, so that it may be a disk of its own; in the end that is moved up,
`gatepost.toml` last. As long as the inner folder is there without that file, whatever lies in the outer one is of a
restore that did not come to its end: whoever looks for a machine is told so, and the next restore clears it away.
Used by `restore`. Raises `GatepostError`, `OSError`.
"""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from core.config.document import UNFINISHED
from core.errors import EX_CANTCREAT, EX_TEMPFAIL, GatepostError
from daemons.keeping.form import CONFIG

OTHERS = {"run", "log", "lost+found"}
"""What may be in the folder before: links that the packages make, and what a disk of its own brings along."""


class Place:
    """The folder, open, with nothing in it but what may be there before."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self.inner = folder / UNFINISHED
        """Where everything is written."""
        self._descriptor = descriptor
        self._before = os.fstat(descriptor)
        self.owner, self.mode = (0, 0), 0
        """User, group and mode that it has when it is opened to others."""
        self._close()

    def _close(self) -> None:
        """Keep all but root out while root writes: its user could put links in the way."""
        if os.geteuid() == 0:
            os.fchown(self._descriptor, 0, 0)
            os.fchmod(self._descriptor, 0o700)

    def open(self) -> None:
        """Let others in."""
        os.fchown(self._descriptor, *self.owner)
        os.fchmod(self._descriptor, self.mode)

    def clear(self) -> None:
        """Be as it was, with nothing written in it."""
        self.owner, self.mode = (self._before.st_uid, self._before.st_gid), stat.S_IMODE(self._before.st_mode)
        for path in self.folder.iterdir():
            if path.name not in OTHERS:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def make(self) -> None:
        """Have what was written be a machine, durably; until the last step there is none."""
        for path in list(self.inner.iterdir()):
            target = self.folder / path.name
            if path.name in OTHERS and os.path.lexists(target):
                path.rmdir()
            elif path.name != CONFIG:
                path.rename(target)
        inner = os.open(self.inner, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.sync()
            self.open()  # from here on others may move what is in it: nothing is named by its path any more
            os.rename(CONFIG, CONFIG, src_dir_fd=inner, dst_dir_fd=self._descriptor)
            os.fsync(self._descriptor)
        finally:
            os.close(inner)
        with contextlib.suppress(OSError):
            os.rmdir(UNFINISHED, dir_fd=self._descriptor)


@contextlib.contextmanager
def place_at(folder: Path) -> Iterator[Place]:
    """Hold a folder that is empty, is not there, or was left by a restore that was killed; clear it if this fails."""
    if folder.exists() and not folder.is_dir():
        raise GatepostError(f"{folder} is no folder; name another", EX_CANTCREAT)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _take(folder, descriptor)
        place = Place(folder, descriptor)
        try:
            place.clear()
            place.inner.mkdir(mode=0o700)
            yield place
        except BaseException:
            place.clear()
            if made:
                folder.rmdir()
            raise
        finally:
            place.open()
    finally:
        os.close(descriptor)


def _take(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise GatepostError(f"{folder}: another restore writes there; wait for it", EX_TEMPFAIL) from None
    except OSError:
        pass  # NFS locks no folder: two at once are not kept apart there
    there = {path.name for path in folder.iterdir()} - OTHERS
    if there and (UNFINISHED not in there or CONFIG in there):
        raise GatepostError(f"{folder} is not empty; restore into a new folder, and move it there", EX_CANTCREAT)
