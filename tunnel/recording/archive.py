"""The files of recordings that are not being made: those that were cut by a crash, and those that are too old.

Called by the recorder, in a thread. Knows no audit log. Raises OSError.
"""

import base64
import hashlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tunnel.recording.tape import CLOSE, MARK, mark

SUFFIX = ".cast"
SIGNATURE = ".sig"
TORN = 64 * 1024
"""Octets of a torn last line that are kept."""
DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Closed:
    """A recording that has its last line."""

    octets: int
    sha256: str
    digest: bytes
    """SHA-512, which is what is signed."""
    cut: bool
    """Whether it was closed only now."""


def recordings(directory: Path) -> list[Path]:
    """Give all recordings, oldest day first."""
    return sorted(directory.glob(f"*/*{SUFFIX}"))


def unsigned(directory: Path) -> list[Path]:
    """Give the recordings without a signature."""
    signed = {path.name.removesuffix(SIGNATURE) for path in directory.glob(f"*/*{SUFFIX}{SIGNATURE}")}
    return [path for path in recordings(directory) if path.name not in signed]


def close_cut(path: Path) -> Closed | None:
    """Close a recording whose recorder ended before it; one that is closed stays as it is.

    None for an empty file, which is removed, and for one of the first form, which has no chain.
    """
    if not path.stat().st_size:
        path.unlink()
        return None
    whole = _Whole()
    with path.open("rb") as file:
        for number, line in enumerate(file):
            event = read_line(line)
            if number == 0 and not is_chained(event):
                return None
            if event is None:
                break
            whole.take(line, event)
    closed = is_close(whole.last)
    if not closed:
        _append_close(path, whole)
    return Closed(whole.octets, whole.sha256.hexdigest(), whole.sha512.digest(), cut=not closed)


class _Whole:
    """The lines of a recording that are whole."""

    def __init__(self) -> None:
        self.octets = 0
        self.sha256, self.sha512 = hashlib.sha256(), hashlib.sha512()
        self.at_s = 0.0
        self.last: list[Any] | None = None

    def take(self, line: bytes, event: list[Any] | dict[str, Any] | None = None) -> None:
        """Count a line in."""
        self.octets += len(line)
        self.sha256.update(line)
        self.sha512.update(line)
        if isinstance(event, list):
            self.at_s, self.last = float(event[0]), event


def _append_close(path: Path, whole: _Whole) -> None:
    """Take a torn line away, keep it in a marker, and write the last line."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        begun = whole.octets
        torn = os.pread(descriptor, TORN, begun)
        os.ftruncate(descriptor, begun)
        lines = b""
        if torn:
            lines = mark(whole.at_s, "torn", {"base64": base64.b64encode(torn).decode("ascii")})
            whole.take(lines)
        facts: dict[str, Any] = {"how": "cut", "why": "the recorder ended before the session did"}
        facts |= {"octets": whole.octets, "sha256": whole.sha256.hexdigest()}
        close = mark(whole.at_s, CLOSE, facts)
        whole.take(close)
        view = memoryview(lines + close)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_line(line: bytes) -> list[Any] | dict[str, Any] | None:
    """Read a line as header or event; None if it is neither or was cut."""
    if not line.endswith(b"\n"):
        return None
    try:
        event = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if isinstance(event, dict) and event.get("version") == 2:
        return event
    shaped = isinstance(event, list) and len(event) == 3 and isinstance(event[0], int | float)
    return event if shaped and isinstance(event[1], str) and isinstance(event[2], str) else None


def is_chained(header: list[Any] | dict[str, Any] | None) -> bool:
    """Tell whether a header is of a recording with chain and close record."""
    own = header.get("gatepost") if isinstance(header, dict) else None
    return isinstance(own, dict) and "format" in own


def is_close(event: list[Any] | None) -> bool:
    """Tell whether an event is the last line of a recording."""
    return event is not None and event[1] == MARK and facts_of(event[2]).get("kind") == CLOSE


def facts_of(text: str) -> dict[str, Any]:
    """Read a marker's JSON; {} if it is none of ours."""
    try:
        facts = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return facts if isinstance(facts, dict) else {}


@dataclass(frozen=True, slots=True)
class Removed:
    """A recording that was removed, and why."""

    path: Path
    octets: int
    why: str


def remove_old(
    directory: Path, keep_days: int, keep_octets: int, now: float, open_ones: Collection[Path]
) -> Iterator[Removed]:
    """Remove what is too old or too much, the oldest first, never one that is being made; 0 = no limit."""
    found = [(path, *_facts(path)) for path in recordings(directory) if path not in open_ones]
    found.sort(key=lambda one: one[2])
    total = sum(size for _, size, _ in found)
    for path, size, ended_at in found:
        why = ""
        if keep_days and ended_at < now - keep_days * DAY_S:
            why = f"older than {keep_days} days"
        elif keep_octets and total > keep_octets:
            why = f"more than {keep_octets} octets"
        if why:
            total -= size
            path.unlink()
            path.with_name(path.name + SIGNATURE).unlink(missing_ok=True)
            yield Removed(path, size, why)
    for day in directory.glob("*-*-*"):
        past = day.name < time.strftime("%Y-%m-%d", time.gmtime(now))
        if past and day.is_dir() and not any(day.iterdir()):
            day.rmdir()


def _facts(path: Path) -> tuple[int, float]:
    status = path.stat()
    return status.st_size, status.st_mtime
