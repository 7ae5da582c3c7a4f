"""tunnel.audit: the chain holds over restarts and shows what was changed."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from core.errors import GatepostError
from tunnel.audit import AuditLog, verify


def _log(path: Path, *events: str) -> None:
    audit = AuditLog(path, now=lambda: 1.0)
    for event in events:
        audit.write(event, serial="sn-1")
    audit.close()


def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "log" / "audit.jsonl"
    _log(path, "one", "two")
    _log(path, "three")
    assert verify(path) == 3
    assert json.loads(path.read_text().splitlines()[0])["event"] == "one"


@pytest.mark.parametrize("line", [0, 1])
def test_a_changed_line_is_found(tmp_path: Path, line: int) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path, "one", "two", "three")
    lines = path.read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace("sn-1", "sn-2")
    path.write_text("".join(lines))
    with pytest.raises(GatepostError, match=f"before line {line + 2}"):
        verify(path)


def test_a_removed_line_is_found(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path, "one", "two", "three")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[2])
    with pytest.raises(GatepostError, match="before line 2"):
        verify(path)


def test_a_line_that_the_disk_had_no_room_for_is_refused_and_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next line was written on to what there was of it, and the chain was broken from there on."""
    audit = AuditLog(tmp_path / "audit.jsonl")
    audit.write("one")
    whole = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: whole(fd, data[:10]))
        with pytest.raises(OSError, match="10 of"):
            audit.write("lost")
    audit.write("two")
    audit.close()
    lines = (tmp_path / "audit.jsonl").read_text().splitlines(keepends=True)
    assert [len(line) for line in lines][1] == 11
    assert json.loads(lines[2])["event"] == "two"
    assert json.loads(lines[2])["previous"] == hashlib.sha256(lines[1].encode()).hexdigest()


def test_a_line_cut_off_by_a_crash_stands_out_and_the_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path, "one", "two")
    path.write_bytes(path.read_bytes()[:-20])
    _log(path, "three")
    with pytest.raises(GatepostError, match="line 2 is not an audit line"):
        verify(path)
    assert json.loads(path.read_text().splitlines()[2])["event"] == "three"
