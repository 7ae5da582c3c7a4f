"""What an operator has suspended, by name, kept over restarts in a small state file.

Used by whoever can be suspended: the listeners of a gateway, `cpq_listener`, delivery. It only remembers; closing ports
and stopping attempts is its owner's business. Raises `GatepostError`: 78 for a file that cannot be read, since what was
suspended must not resume by itself, 73 when an order cannot be written down.
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from core.disk import Disk, read_file, replace_file
from core.errors import EX_CANTCREAT, EX_CONFIG, GatepostError


class Suspended:
    """The names that are suspended. Orders are durable when the call returns; it blocks for a moment."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        """Take up the orders that were in force when the daemon ended."""
        self._path = path
        self._disk = disk or Disk()
        try:
            data = read_file(self._disk, path)
            self._names = msgspec.json.decode(data, type=frozenset[str]) if data else frozenset()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            text = f"{path}: what is suspended cannot be read ({error}); remove the file to resume everything"
            raise GatepostError(text, EX_CONFIG) from error

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def names(self) -> frozenset[str]:
        """All that is suspended."""
        return self._names

    def suspend(self, names: Iterable[str]) -> None:
        """Remember that these are suspended."""
        self._write(self._names.union(names))

    def resume(self, names: Iterable[str]) -> None:
        """Remember that these are not suspended any more."""
        self._write(self._names.difference(names))

    def _write(self, names: frozenset[str]) -> None:
        try:
            self._disk.make_directory(self._path.parent)
            replace_file(self._disk, self._path, msgspec.json.encode(sorted(names)))
        except OSError as error:
            raise GatepostError(f"{self._path}: the order cannot be written down: {error}", EX_CANTCREAT) from error
        self._names = names
