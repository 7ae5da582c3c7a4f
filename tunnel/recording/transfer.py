"""One file on its way: what passed of it, its SHA-256 if that was the whole file in order, and what is said of it.

Used by the taps `sftp.py` and `scp.py`, which see the octets pass. A hash is given only for what is certainly the
whole file from its beginning to its end; otherwise `partial` says why there is none.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

AHEAD = 2 << 20
"""Octets that may wait for those before them: replies may come out of order."""

LONGEST = 4096
"""Octets of a path that are noted: what is noted goes to the audit log, and nobody may fill that."""

Note = Callable[[str, dict[str, Any]], None]
"""Takes the kind of a marker and its facts."""


class Lost(Exception):
    """What passes is not the protocol that it should be; it is recorded as it is from here on."""


class Tap(Protocol):
    """Follows a file transfer in both directions. Raises Lost when it cannot any more, nothing else."""

    def sent(self, data: bytes) -> None:
        """Take what the engineer sent."""

    def came(self, data: bytes) -> None:
        """Take what the far end sent."""

    def end(self) -> None:
        """The channel is over."""


class Stretch:
    """What was read or written of one file."""

    def __init__(self) -> None:
        self.octets = 0
        self.until = 0
        """All before this offset has passed, in order."""
        self.partial = ""
        """Why this cannot be the whole file."""
        self._hash = hashlib.sha256()
        self._ahead: dict[int, bytes] = {}
        self._waiting = 0

    def add(self, offset: int, data: bytes) -> None:
        """Take a piece."""
        self.octets += len(data)
        if self.partial:
            return
        if offset == self.until:
            self._take(data)
            while self._ahead and (following := self._ahead.pop(self.until, None)) is not None:
                self._waiting -= len(following)
                self._take(following)
        elif offset < self.until or offset in self._ahead:
            self._give_up("parts of it passed more than once")
        else:
            self._ahead[offset] = data
            self._waiting += len(data)
            if self._waiting > AHEAD:
                self._give_up("it did not pass in order")

    def finished(self) -> dict[str, Any]:
        """Give octets, and sha256 or partial."""
        if self._ahead:
            self._give_up("there are holes in it")
        return {"octets": self.octets} | ({"partial": self.partial} if self.partial else {"sha256": self.sha256})

    @property
    def sha256(self) -> str:
        """SHA-256 of all before `until`."""
        return self._hash.hexdigest()

    def _take(self, data: bytes) -> None:
        self._hash.update(data)
        self.until += len(data)

    def _give_up(self, why: str) -> None:
        self.partial = why
        self._ahead.clear()
        self._waiting = 0


def shown(path: bytes) -> str:
    """Give a path as text; octets that are no UTF-8 as \\xNN. Of one that no system takes only the beginning."""
    text = path[:LONGEST].decode("utf-8", "backslashreplace")
    return text if len(path) <= LONGEST else f"{text}… ({len(path)} octets)"
