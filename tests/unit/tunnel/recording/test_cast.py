"""tunnel.recording: the file that a player reads, whatever the octets and the disk do."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.service import running
from tunnel.audit import AuditLog, verify
from tunnel.recording.cast import Recorder, Recording


def _events(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _recorder(folder: Path) -> tuple[Recorder, AuditLog]:
    audit = AuditLog(folder / "audit.jsonl")
    return Recorder(folder / "recordings", audit), audit


async def test_a_recording_is_asciicast_with_markers(tmp_path: Path) -> None:
    recorder, audit = _recorder(tmp_path)
    recording = recorder.start("s1", "sn-1", {"width": 80, "height": 24}, lambda _reason: None)
    recording.marker("exec", command="version")
    recording.output("grüß".encode()[:3])
    recording.output("grüß".encode()[3:])
    recording.resize(100, 30)
    recording.finish(status=0)
    await recorder.flush()
    header, *events = _events(recording.path)
    assert header == {"version": 2, "width": 80, "height": 24}
    assert [code for _, code, _ in events] == ["m", "o", "o", "r", "m"]
    assert "".join(text for _, code, text in events if code == "o") == "grüß"
    assert json.loads(events[-1][2]) == {"kind": "close", "status": 0}
    assert [at for at, _, _ in events] == sorted(at for at, _, _ in events)
    audit.close()
    assert verify(tmp_path / "audit.jsonl") == 1


async def test_octets_that_are_not_text_are_kept(tmp_path: Path) -> None:
    recorder, audit = _recorder(tmp_path)
    recording = recorder.start("s1", "sn-1", {}, lambda _reason: None)
    recording.output(b"a\xffb")
    recording.finish()
    await recorder.flush()
    marks = [json.loads(text) for _, code, text in _events(recording.path)[1:] if code == "m"]
    assert base64.b64decode(marks[0]["base64"]) == b"a\xffb"
    audit.close()


async def test_a_session_that_is_still_open_is_on_disk_too(tmp_path: Path) -> None:
    recorder, audit = _recorder(tmp_path)
    recording = recorder.start("s1", "sn-1", {}, lambda _reason: None)
    recording.output(b"so far")
    await recorder.flush()
    assert _events(recording.path)[-1][2] == "so far"
    recording.finish()
    async with running(recorder):
        pass
    assert json.loads(_events(recording.path)[-1][2])["kind"] == "close"
    audit.close()


async def test_an_audit_log_that_cannot_be_synced_does_not_end_the_bastion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The recorder failed, and with it the daemon and every tunnel."""

    def refuse(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    recorder, audit = _recorder(tmp_path)
    audit.write("one")
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        await recorder.flush()
    assert "cannot be synced" in capfd.readouterr().err
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    await recorder.flush()
    assert synced, "the next round tries again"
    audit.close()


async def test_a_full_disk_ends_the_session_once(tmp_path: Path) -> None:
    class Full(Recording):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    told: list[str] = []
    recorder, audit = _recorder(tmp_path)
    recording = Full(tmp_path / "x.cast", {}, told.append)
    recorder._open.add(recording)
    await recorder.flush()
    await recorder.flush()
    assert len(told) == 1
    assert "No space left" in told[0]
    recording.close()
    audit.close()
