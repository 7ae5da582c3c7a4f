"""What the quarantine needs of its machine: numbers, and somebody to wake.

Declared here for both sides; the roots hand in `core.ids.IdBlocks` and `core.control.Poke`.
"""

from typing import Protocol


class Numbers(Protocol):
    """Gives MIDs, ICIDs or DCIDs."""

    def next(self) -> int:
        """Give a number that was never given before. Raises `OSError`."""


class Poke(Protocol):
    """Wakes the delivery queue."""

    def poke(self, topic: str) -> None:
        """Say that there is news."""
