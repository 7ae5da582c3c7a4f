"""The content files of quarantined messages: one file each, written and synced before the row that names it.

Called from worker threads only (everything here blocks). Names are message ids, made by us. A file without a row
is what a crash left; `sweep` removes such files before the listener takes new ones. Raises OSError.
"""

from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from core.disk import Disk
from core.killpoint import killpoint

_CHUNK = 256 * 1024


class ContentFolder:
    """The folder `spool/quarantine/content`, split in 256 by the end of the name."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self._root = root
        self._disk = disk or Disk()
        self._disk.make_directory(root)

    def path(self, name: str) -> Path:
        """Give where the content of that message lies."""
        return self._root / name[-2:] / name

    def write(self, name: str, chunks: Iterable[bytes]) -> int:
        """Write and sync one file; its name is durable after `sync`. Gives its size; what failed leaves no file."""
        path = self.path(name)
        if not path.parent.is_dir():
            self._disk.make_directory(path.parent)
        descriptor = self._disk.open(path, create=True, write=True)
        try:
            size = self._fill(descriptor, chunks)
        except BaseException:
            self._disk.close(descriptor)
            self._disk.unlink(path)
            raise
        self._disk.close(descriptor)
        return size

    def _fill(self, descriptor: int, chunks: Iterable[bytes]) -> int:
        size = 0
        for chunk in chunks:
            size += self._disk.write(descriptor, [chunk], size)
        killpoint("quarantine.content.written")
        self._disk.fdatasync(descriptor)
        return size

    def sync(self, names: Iterable[str]) -> None:
        """Make the directory entries of those files durable, each directory once."""
        for folder in sorted({self.path(name).parent for name in names}):
            self._disk.fsync_directory(folder)

    def read(self, name: str, limit: int) -> bytes:
        """Give the first `limit` octets of the content."""
        descriptor = self._disk.open(self.path(name))
        try:
            return self._disk.read(descriptor, limit, 0)
        finally:
            self._disk.close(descriptor)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Give the content from the start, up to 256 KiB a step."""
        descriptor = self._disk.open(self.path(name))
        try:
            size = self._disk.size(descriptor)
            for offset in range(0, size, _CHUNK):
                yield self._disk.read(descriptor, min(_CHUNK, size - offset), offset)
        finally:
            self._disk.close(descriptor)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files if they are there, durably: the rows that name them may go afterwards."""
        gone = list(names)
        for name in gone:
            self._disk.unlink(self.path(name))
        self.sync(name for name in gone if self.path(name).parent.is_dir())

    def sweep(self, known: Container[str]) -> int:
        """Remove files that no row names; gives how many. Only while nobody writes new ones."""
        removed = 0
        for folder in self._disk.names(self._root):
            for name in self._disk.names(self._root / folder):
                if name not in known:
                    self._disk.unlink(self._root / folder / name)
                    removed += 1
        return removed
