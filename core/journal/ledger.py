"""What the owner of a journal has on the disk and nobody has acknowledged yet: octets and content files per segment.

Written by the writer thread, read and shortened by the keeper thread, its total read by the loop.
"""

import threading


class Ledger:
    """Unacknowledged octets by generation."""

    def __init__(self) -> None:
        self.total = 0
        """Octets of all generations together, spilled content included."""
        self._lock = threading.Lock()
        self._segments: dict[int, tuple[int, list[str]]] = {}

    def add(self, generation: int, length: int, spills: list[tuple[str, int]]) -> None:
        """Note what was made durable in a generation; with nothing at all, that it exists."""
        with self._lock:
            octets, names = self._segments.setdefault(generation, (0, []))
            names.extend(name for name, _ in spills)
            more = length + sum(size for _, size in spills)
            self._segments[generation] = (octets + more, names)
            self.total += more

    def generations(self) -> list[int]:
        """List the generations that still lie on the disk, oldest first."""
        with self._lock:
            return sorted(self._segments)

    def spills(self, generation: int) -> list[str]:
        """Name the content files that belong to a generation."""
        with self._lock:
            return list(self._segments[generation][1])

    def octets(self, generation: int) -> int:
        """Give the octets of one generation."""
        with self._lock:
            return self._segments.get(generation, (0, []))[0]

    def drop(self, generation: int) -> None:
        """Forget a generation whose segment is gone."""
        with self._lock:
            self.total -= self._segments.pop(generation)[0]
