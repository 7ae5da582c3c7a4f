"""tunnel.audit: the chain holds over restarts and shows what was changed."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from core.errors import GatepostError
from tests.support.volume import fill, mounted, on_a_volume
from tunnel.audit import AuditLog, check, events, head_digest, set_aside, verify


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
    room = 10

    def short(fd: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written, room = whole(fd, data[:room]), 0
        return written

    with monkeypatch.context() as full:
        full.setattr(os, "write", short)
        with pytest.raises(OSError, match="10 of"):
            audit.write("lost")
    audit.write("two")
    audit.close()
    lines = (tmp_path / "audit.jsonl").read_text().splitlines(keepends=True)
    assert [len(line) for line in lines][1] == 11
    assert [json.loads(line)["event"] for line in lines[2:]] == ["torn", "two"]
    assert json.loads(lines[2])["previous"] == hashlib.sha256(lines[1].encode()).hexdigest()
    assert check(tmp_path / "audit.jsonl").notes == [
        f"{tmp_path}/audit.jsonl: line 2 was cut off by a crash or a full disk"
    ]


def test_a_line_cut_off_by_a_crash_is_said_and_the_chain_holds(tmp_path: Path) -> None:
    """A kill in the middle of a line made the whole log fail its check for ever."""
    path = tmp_path / "audit.jsonl"
    _log(path, "one", "two")
    path.write_bytes(path.read_bytes()[:-20])
    assert "not complete yet" in check(path).notes[0]
    _log(path, "three")
    assert "line 2 was cut off" in check(path).notes[0]
    assert [event["event"] for event in events(path)] == ["one", "torn", "three"]


def test_a_line_that_was_made_unreadable_is_found(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path, "one", "two", "three")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"gone\n" + lines[2])
    with pytest.raises(GatepostError, match="line 2 is not an audit line"):
        verify(path)
    path.write_bytes(lines[0] + lines[1] + b"gone\n")
    with pytest.raises(GatepostError, match="line 3 is not an audit line"):
        verify(path)


def test_the_chain_goes_on_over_files_that_are_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path, now=lambda: 1.0, octets=400)
    for number in range(12):
        audit.write("one", number=number)
    audit.close()
    aside = set_aside(path)
    assert len(aside) >= 2
    assert [event["number"] for event in events(path) if event["event"] == "one"] == list(range(12))
    assert verify(path) == 12 + len(aside)
    _log(path, "after a restart")
    verify(path)
    aside[1].write_bytes(aside[1].read_bytes().replace(b"one", b"two", 1))
    with pytest.raises(GatepostError, match="before line 3"):
        verify(path)
    aside[1].unlink()
    with pytest.raises(GatepostError, match="before line 1"):
        verify(path)
    aside[0].unlink()
    assert "which is not here" in check(path).notes[0]


def test_a_log_that_ended_when_a_file_was_put_aside_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    _log(path, "one")
    path.rename(tmp_path / "audit-000001.jsonl")
    _log(path, "two")
    assert verify(path) == 2


def test_a_following_file_that_cannot_be_opened_loses_no_line_and_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log wrote on to the number of a closed descriptor, which by then could be anybody's connection."""
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path, octets=10)
    audit.write("one")
    with monkeypatch.context() as exhausted:
        exhausted.setattr("tunnel.audit._open", _no_descriptors)
        with pytest.raises(OSError, match="Too many open files"):
            audit.write("lost")
    audit.write("two")
    audit.close()
    assert [event["event"] for event in events(path)] == ["one", "continued", "two"]
    assert verify(path) == 3


def _no_descriptors(_path: Path) -> int:
    raise OSError(24, "Too many open files")


def test_a_head_signs_the_chain_so_far(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit = AuditLog(path, now=lambda: 1.0)
    assert audit.unsigned == ""
    audit.write("one")
    of = audit.unsigned
    audit.write("in between")
    audit.head(of, head_digest(of).hex())
    assert audit.unsigned == ""
    audit.write("two")
    audit.close()
    good = check(path, lambda digest, signature: digest.hex().encode() == signature)
    assert (good.heads, good.covered, good.lines) == (1, 2, 4)
    with pytest.raises(GatepostError, match="line 3: the signature"):
        check(path, lambda _digest, _signature: False)
    _rewritten(path)
    with pytest.raises(GatepostError, match="signs a chain that is not this one"):
        check(path, lambda _digest, _signature: True)


def _rewritten(path: Path) -> None:
    """Change the first line and make all hashes fit again, as one could who has the file but no key."""
    previous = "0" * 64
    text = ""
    for event in list(events(path)):
        line = json.dumps(event | {"at": 2.0, "previous": previous}) + "\n"
        previous = hashlib.sha256(line.encode()).hexdigest()
        text += line
    path.write_text(text)


@on_a_volume
def test_on_a_full_disk_the_log_goes_on_in_what_was_set_aside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An engineer of the emergency role was locked out because the login could not be logged."""
    with mounted(tmp_path, mebibytes=16) as volume:
        path = volume.place / "audit.jsonl"
        audit = AuditLog(path)
        audit.write("one")
        audit.sync()
        fill(volume.place / "filler")
        for number in range(2000):
            audit.write("still", number=number)
        audit.close()
        assert verify(path) == 2001
        assert "the disk is full" in capfd.readouterr().err
