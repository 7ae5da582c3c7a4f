"""Whether a recording is what was recorded: chain, close record, signature, and what the audit log says of it.

Called by `gatepost bastion verify`. Reads files, changes nothing. Raises GatepostError (66) for a file that cannot be
read; whatever is wrong inside one is in the report.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import EX_NOINPUT, GatepostError
from tunnel.recording.archive import SIGNATURE, facts_of, is_chained, read_line
from tunnel.recording.file import is_being_written
from tunnel.recording.signature import is_signed
from tunnel.recording.tape import CHAIN, CLOSE, MARK


@dataclass(slots=True)
class Report:
    """What was found. `problems` is empty for a recording that is proved."""

    file: str
    closed: bool = False
    running: bool = False
    """Whether it was being written when we came: that it is not closed, signed and logged yet is no fault."""
    how: str = ""
    """How it ended, as its last line says: `ended`, `cut`, `stopped`, …"""
    octets: int = 0
    events: int = 0
    until_s: float = 0.0
    """Up to here it is intact."""
    sha256: str = ""
    signature: str = "missing"
    """good, bad, missing, or not checked."""
    audit: str = "not checked"
    """agrees, differs, not mentioned, or not checked."""
    problems: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.problems

    @property
    def line(self) -> str:
        """The report as one line for a person."""
        if self.problems:
            return f"{self.file}: {'; '.join(self.problems)}"
        if self.running:
            return f"{self.file}: still running, intact up to {self.until_s:.1f} s, {self.events} events"
        end = "" if self.how == "ended" else f", ended as {self.how}"
        proofs = f"signature {self.signature}, audit log {self.audit}"
        return f"{self.file}: intact, {self.until_s:.1f} s, {self.events} events{end}; {proofs}"


class _Walk:
    """Goes through a file line by line up to the first that does not fit."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.chained = False
        self.whole = hashlib.sha512()
        self._prefix = hashlib.sha256()
        self._octets = 0
        self._proved_s = self._at_s = 0.0
        self._number = 0
        self._broken = False

    def take(self, line: bytes) -> None:
        """Take the next line."""
        self._number += 1
        self.whole.update(line)
        if not self._broken:
            self._check(line)
        self._octets += len(line)
        self._prefix.update(line)

    def end(self) -> None:
        """Say what the file is as a whole."""
        report = self.report
        report.octets, report.sha256 = self._octets, self._prefix.hexdigest()
        if not self._number:
            report.problems.append("is empty")
        report.until_s = self._proved_s if self.chained else self._at_s
        report.running &= self.chained
        if self.chained and not report.closed and not report.running and not self._broken:
            report.problems.append(f"not closed, intact up to {self._proved_s:.1f} s")

    def _check(self, line: bytes) -> None:
        event = read_line(line)
        if self._number == 1:
            self.chained = is_chained(event)
            if not isinstance(event, dict):
                self._bad("line 1 is not the header of a recording")
        elif not isinstance(event, list):
            torn = not line.endswith(b"\n") and not self.report.closed
            self._broken = True
            if torn and self.report.running:
                return
            self._bad(f"not closed, intact up to {self._proved_s:.1f} s" if torn else "is no event")
        elif self.report.closed:
            self._bad("comes after the close record")
        else:
            self._event(event)

    def _event(self, event: list[Any]) -> None:
        self.report.events += 1
        self._at_s = float(event[0])
        if event[1] != MARK or not self.chained:
            return
        facts = facts_of(event[2])
        if facts.get("kind") not in (CHAIN, CLOSE):
            return
        if (facts.get("octets"), facts.get("sha256")) != (self._octets, self._prefix.hexdigest()):
            self._bad(f"something between {self._proved_s:.1f} s and {self._at_s:.1f} s was changed")
            return
        self._proved_s = self._at_s
        if facts["kind"] == CLOSE:
            self.report.closed, self.report.how = True, str(facts.get("how"))

    def _bad(self, why: str) -> None:
        if not self.report.problems:
            text = why if why.startswith(("not closed", "line 1")) else f"line {self._number}: {why}"
            self.report.problems.append(text)
        self._broken = True


def verify(path: Path, allowed: str = "", logged: Mapping[str, Mapping[str, Any]] | None = None) -> Report:
    """Check one recording.

    allowed: lines of an allowed signers file; '' = signatures are not checked. logged: the audit log's `recording`
    lines by `name_of` path; None = it is not asked.
    """
    report = Report(str(path))
    walk = _Walk(report)
    try:
        with path.open("rb") as file:
            report.running = is_being_written(file)
            for line in file:
                walk.take(line)
        signature = path.with_name(path.name + SIGNATURE)
        signed = signature.read_bytes() if signature.exists() else b""
    except OSError as error:
        raise GatepostError(f"{path}: cannot be read: {error.strerror}", EX_NOINPUT) from error
    walk.end()
    _check_signature(report, walk, signed, allowed)
    if logged is not None:
        _check_log(report, logged.get(name_of(path)), chained=walk.chained)
    elif not walk.chained and not report.problems:
        report.problems.append("has no chain; only the machine's audit log can prove it (--config)")
    return report


def _check_signature(report: Report, walk: _Walk, signed: bytes, allowed: str) -> None:
    if not signed:
        if not walk.chained:
            report.signature = "none in this form"
        elif report.closed and not report.running:
            report.problems.append("the signature is missing")
    elif not allowed:
        report.signature = "not checked"
    elif is_signed(walk.whole.digest(), signed, allowed):
        report.signature = "good"
    else:
        report.signature = "bad"
        report.problems.append("the signature is not good")


def _check_log(report: Report, line: Mapping[str, Any] | None, *, chained: bool) -> None:
    if line is None:
        report.audit = "not mentioned"
        if (report.closed and not report.running) or not chained:
            report.problems.append("the audit log does not mention it")
    elif line.get("sha256") == report.sha256:
        report.audit = "agrees"
    else:
        report.audit = "differs"
        report.problems.append("the audit log has another hash of it")


def name_of(path: Path | str) -> str:
    """Name a recording as the audit log does: day and file."""
    return "/".join(Path(path).parts[-2:])


def logged_of(events: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Gather what an audit log says of recordings that should be there, by `name_of`."""
    logged: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("event") == "recording":
            logged[name_of(str(event.get("path")))] = event
        elif event.get("event") == "recording-removed":
            logged.pop(name_of(str(event.get("path"))), None)
    return logged
