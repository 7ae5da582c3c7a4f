"""An audit log: one JSON object per line, each carrying the hash of the line before it.

Every admission, refusal, request and ending of the bastion is a line here; keyd and the appliance keep one each. Lines
are appended at once and synced by `sync`, which the recorder calls every second. A file that has grown long is put
aside as `NAME-000001.jsonl` and so on; the next one begins with the hash of its last line, so the chain goes on. From
time to time a `head` line carries a signature of the chain so far. A line that was changed, removed or inserted breaks
the chain and `check` says where; the loss of the last lines shows only against a head that was kept elsewhere.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.ballast import FULL, Ballast
from core.diagnostic import CRITICAL, say
from core.disk import Disk
from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError

FIRST = "0" * 64
FILE_OCTETS = 64 << 20
"""A file of the log is put aside when it is this long."""
_ASIDE = re.compile(r"-(\d{6,})$")
BALLAST = 1 << 20
"""Set aside beside the log: on a full disk there is still room for some thousand lines."""
HEAD, TORN, CONTINUED = "head", "torn", "continued"

Trusted = Callable[[bytes, bytes], bool]
"""Tells whether a signature of a SHA-512 digest is by somebody who may sign heads."""


class AuditLog:
    """Appends to one log; one process, one writer."""

    def __init__(self, path: Path, now: clock.Clock = clock.now, octets: int = FILE_OCTETS) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._now = now
        self._limit = octets
        self._descriptor = _open(path)
        self._last, self._torn = _tail(path)
        """The hash that the next line carries, and whether the last one was cut off and needs its end first."""
        self._octets = os.fstat(self._descriptor).st_size
        self._headed = ""
        self._ballast = Ballast(path.with_name(f".{path.stem}.ballast"), BALLAST)
        self._unsynced = False

    def write(self, event: str, **facts: Any) -> None:
        """Append one event. Raises OSError if it cannot be written: what is not logged must not happen."""
        if self._octets >= self._limit:
            self._put_aside()
        if self._torn:
            self._octets += os.write(self._descriptor, b"\n")
            self._torn = False
            self._append(TORN, {"why": "the line before this one was cut off"})
        self._append(event, facts)

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
            with contextlib.suppress(OSError):  # no room for it yet
                self._ballast.lay(BALLAST)

    @property
    def unsigned(self) -> str:
        """The hash of the last line, if no head covers it; else ''."""
        return "" if self._last in (self._headed, FIRST) else self._last

    def head(self, of: str, signature: str) -> None:
        """Append the signature of `head_digest(of)`, where `of` is the hash of a line that was the last one."""
        self.note(HEAD, of=of, signature=signature)
        self._headed = self._last

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        os.close(self._descriptor)

    def _append(self, event: str, facts: dict[str, Any]) -> None:
        document = {"at": self._now(), "event": event, **facts, "previous": self._last}
        line = msgspec.json.encode(document) + b"\n"
        written = self._put(line)
        self._octets += written
        self._unsynced = True
        self._torn = written < len(line)
        self._last = _hash(line[:written] + b"\n" if self._torn else line)
        if self._torn:
            raise OSError(f"only {written} of {len(line)} octets of an audit line were written")

    def _put(self, line: bytes) -> int:
        """Write as much of a line as the disk takes, with the ballast given up; raises OSError if that is nothing."""
        written = 0
        while written < len(line):
            try:
                written += os.write(self._descriptor, line[written:])
            except OSError as error:
                if error.errno in FULL and self._ballast.drop():
                    say(CRITICAL, f"{self._path}: the disk is full; the audit log goes on in what was set aside")
                elif written:
                    break
                else:
                    raise
        return written

    def _put_aside(self) -> None:
        number = max((_number(one) for one in set_aside(self._path)), default=0) + 1
        os.fsync(self._descriptor)
        aside = self._path.with_name(f"{self._path.stem}-{number:06}{self._path.suffix}")
        os.rename(self._path, aside)
        try:
            following = _open(self._path)
        except OSError:
            os.rename(aside, self._path)  # it goes on in the long one, and the next line tries again
            raise
        os.close(self._descriptor)
        self._descriptor, self._octets = following, 0
        Disk().fsync_directory(self._path.parent)
        self._append(CONTINUED, {"file": aside.name})


@dataclass(slots=True)
class AuditReport:
    """What a check of a log found. What is wrong is raised instead."""

    lines: int = 0
    files: list[str] = field(default_factory=list)
    heads: int = 0
    """Signatures that are good."""
    covered: int = 0
    """Lines up to the last of them."""
    notes: list[str] = field(default_factory=list)


def verify(path: Path) -> int:
    """Check the chain of a log; gives the number of lines, or raises GatepostError (65) naming the first bad one."""
    return check(path).lines


def check(path: Path, trusted: Trusted | None = None) -> AuditReport:
    """Check chain and, with `trusted`, the signed heads. Raises GatepostError (65) naming the first bad line."""
    chain = _Chain(trusted)
    for file in [*set_aside(path), path]:
        chain.report.files.append(file.name)
        for number, line in enumerate(_read(file), 1):
            chain.take(f"{file}: line {number}", line)
    chain.end()
    return chain.report


class _Chain:
    """Goes through a log line by line."""

    def __init__(self, trusted: Trusted | None) -> None:
        self.report = AuditReport()
        self._trusted = trusted
        self._expected = FIRST
        self._since_head = {FIRST}
        self._torn = ""
        self._whole = True

    def take(self, where: str, line: bytes) -> None:
        """Check the next line."""
        self.report.lines += 1
        document = _document(line)
        event = None if document is None else document.get("event")
        if self._torn and event != TORN:
            raise GatepostError(f"{self._torn} is not an audit line", EX_DATAERR)
        if self._torn:
            self.report.notes.append(f"{self._torn} was cut off by a crash or a full disk")
        self._torn = where if document is None else ""
        if document is not None:
            self._linked(where, document)
        self._whole = line.endswith(b"\n")
        self._expected = _hash(line)
        self._since_head.add(self._expected)

    def end(self) -> None:
        """Check what the log ends with."""
        if self._torn and self._whole:
            raise GatepostError(f"{self._torn} is not an audit line", EX_DATAERR)
        if self._torn:
            self.report.notes.append(f"{self._torn} is not complete yet, or was cut off")

    def _linked(self, where: str, document: dict[str, Any]) -> None:
        previous = str(document.get("previous"))
        if self.report.lines == 1 and document.get("event") == CONTINUED:
            self.report.notes.append(f"{where}: goes on from {document.get('file')}, which is not here")
            self._expected = previous
            self._since_head.add(previous)
        if previous != self._expected:
            raise GatepostError(f"{where.replace(': line', ': the chain breaks before line')}", EX_DATAERR)
        if document.get("event") == HEAD and self._trusted is not None:
            self._head(where, document, self._trusted)

    def _head(self, where: str, document: dict[str, Any], trusted: Trusted) -> None:
        of, signature = str(document.get("of")), str(document.get("signature"))
        if of not in self._since_head:
            raise GatepostError(f"{where} signs a chain that is not this one", EX_DATAERR)
        if not trusted(head_digest(of), signature.encode("ascii", "replace")):
            raise GatepostError(f"{where}: the signature of the chain is not good", EX_DATAERR)
        self.report.heads += 1
        self.report.covered = self.report.lines - 1
        self._since_head.clear()


def head_digest(of: str) -> bytes:
    """Give what is signed for a head: SHA-512 of `gatepost audit head HASH` and a newline."""
    return hashlib.sha512(f"gatepost audit head {of}\n".encode()).digest()


def events(path: Path) -> Iterator[dict[str, Any]]:
    """Give every event of a log, oldest first; what cannot be read is left out. Raises GatepostError (66)."""
    for file in [*set_aside(path), path]:
        for line in _read(file):
            if (document := _document(line)) is not None:
                yield document


def set_aside(path: Path) -> list[Path]:
    """Give the files of a log that were put aside, oldest first."""
    return sorted(one for one in path.parent.glob(f"{path.stem}-*{path.suffix}") if _number(one))


def _number(path: Path) -> int:
    found = _ASIDE.search(path.stem)
    return int(found[1]) if found else 0


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            yield from file
    except OSError as error:
        raise GatepostError(f"{path}: the audit log cannot be read: {error.strerror}", EX_NOINPUT) from error


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        document = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return document if isinstance(document, dict) and "previous" in document else None


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _tail(path: Path) -> tuple[str, bool]:
    """Give the hash that the next line has to carry, and whether the last line was cut off by a crash."""
    content = path.read_bytes()
    if not content:
        aside = set_aside(path)
        return _tail(aside[-1]) if aside else (FIRST, False)
    torn = not content.endswith(b"\n")
    line = content.removesuffix(b"\n").rpartition(b"\n")[2] + b"\n"
    return _hash(line), torn
