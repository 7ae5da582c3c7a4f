"""The bastion's audit log: one JSON object per line, each carrying the hash of the line before it.

Every admission, refusal, request and ending of the bastion is a line here. Lines are appended at once and synced
by `sync`, which the recorder calls every second. A line that was changed, removed or inserted breaks the chain
and `verify` says where; the log cannot notice the loss of its last lines by itself.
"""

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.diagnostic import CRITICAL, say
from core.errors import EX_DATAERR, GatepostError

FIRST = "0" * 64


class AuditLog:
    """Appends to one file; one process, one writer."""

    def __init__(self, path: Path, now: clock.Clock = clock.now) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._now = now
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._last, self._torn = _tail(path)
        """The hash that the next line carries, and whether the last one was cut off and needs its end first."""
        self._unsynced = False

    def write(self, event: str, **facts: Any) -> None:
        """Append one event. Raises OSError if it cannot be written: what is not logged must not happen."""
        document = {"at": self._now(), "event": event, **facts, "previous": self._last}
        line = msgspec.json.encode(document) + b"\n"
        if self._torn:
            os.write(self._descriptor, b"\n")
            self._torn = False
        written = os.write(self._descriptor, line)
        self._unsynced = True
        self._torn = written < len(line)
        self._last = _hash(line[:written] + b"\n" if self._torn else line)
        if self._torn:
            raise OSError(f"only {written} of {len(line)} octets of an audit line were written")

    def note(self, event: str, **facts: Any) -> None:
        """Append an event that has happened anyway; a failure goes to the diagnostics and stops nothing."""
        try:
            self.write(event, **facts)
        except OSError as error:
            say(CRITICAL, f"the audit log cannot be written: {error}: {event} {facts}")

    def sync(self) -> None:
        """Bring what was written to disk; blocks. Raises `OSError`; the next call tries again."""
        if self._unsynced:
            self._unsynced = False
            try:
                os.fsync(self._descriptor)
            except OSError:
                self._unsynced = True
                raise

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._descriptor)


def verify(path: Path) -> int:
    """Check the chain of a log; gives the number of lines, or raises GatepostError (65) naming the first bad one."""
    expected = FIRST
    count = 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            previous = msgspec.json.decode(line)["previous"]
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise GatepostError(f"{path}: line {number} is not an audit line", EX_DATAERR) from error
        if previous != expected:
            raise GatepostError(f"{path}: the chain breaks before line {number}", EX_DATAERR)
        expected = _hash(line)
        count = number
    return count


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _tail(path: Path) -> tuple[str, bool]:
    """Give the hash that the next line has to carry, and whether the last line was cut off by a crash."""
    content = path.read_bytes()
    if not content:
        return FIRST, False
    torn = not content.endswith(b"\n")
    line = content.removesuffix(b"\n").rpartition(b"\n")[2] + b"\n"
    return _hash(line), torn
