"""Received content that is hashed on its way in, so that nothing has to be read twice.

What the listener's session hands to the SMTP machine as its sink. Passes everything on to a `core.content.Content`.
"""

import hashlib
from collections.abc import Callable

from core.content import Content


class HashedContent:
    """A content and its SHA-256."""

    __slots__ = ("_digest", "content")

    def __init__(self, content: Content) -> None:
        self.content = content
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Take the next octets."""
        self._digest.update(chunk)
        self.content.write(chunk)

    def discard(self) -> None:
        """Forget all octets."""
        self.content.discard()

    @property
    def sha256(self) -> bytes:
        """Digest of all octets so far."""
        return self._digest.digest()

    @property
    def size(self) -> int:
        """Number of octets so far."""
        return self.content.size

    @property
    def congested(self) -> bool:
        """Whether the sender should be made to wait until `on_drained`."""
        return self.content.congested

    @property
    def on_drained(self) -> Callable[[], None] | None:
        """Called once each time `congested` goes from true to false."""
        return self.content.on_drained

    @on_drained.setter
    def on_drained(self, value: Callable[[], None] | None) -> None:
        self.content.on_drained = value
