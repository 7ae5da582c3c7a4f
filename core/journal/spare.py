"""Spare segments: zero-filled or recycled files that wait for their next use.

Taken by the writer thread, made and given back by the keeper thread.
"""

import threading
from pathlib import Path

from core.disk import Disk
from core.journal.segment import fill_spare

KEPT = 2


class Spares:
    """The spare files of one journal directory."""

    def __init__(self, disk: Disk, directory: Path, size: int) -> None:
        self._disk = disk
        self._directory = directory
        self._size = size
        self._lock = threading.Lock()
        self._ready: list[Path] = []

    def take(self) -> Path:
        """Give a spare, made on the spot if none is ready. Raises `OSError`."""
        with self._lock:
            if self._ready:
                return self._ready.pop()
        return fill_spare(self._disk, self._directory, self._size)

    def give(self, spare: Path) -> None:
        """Put a file of the right length by, or remove it when there are enough. Raises `OSError`."""
        with self._lock:
            if len(self._ready) < KEPT:
                self._ready.append(spare)
                return
        self._disk.unlink(spare)

    def prepare(self) -> None:
        """See to it that one is ready. Raises `OSError`."""
        with self._lock:
            if self._ready:
                return
        self.give(fill_spare(self._disk, self._directory, self._size))
