"""The sink of a sinkhole listener that stores nothing: it keeps the beginning of a message, for its header, and counts.

Used by the receiving session; behaves as core/content.py's `Content` where the session looks.
"""

from core.content import HEAD_BYTES


class Hole:
    """Takes content and forgets it."""

    __slots__ = ("_head", "size")

    def __init__(self) -> None:
        self.size = 0
        self._head = b""

    def write(self, chunk: bytes) -> None:
        """Count the octets; keep the beginning."""
        self.size += len(chunk)
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + chunk)[:HEAD_BYTES]

    @property
    def head(self) -> bytes:
        """The beginning of what came."""
        return self._head

    def discard(self) -> None:
        """Forget the beginning too."""
        self._head = b""
