"""tunnel.recording.recorder: files that a player reads, whatever the disk does."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from core import ssh
from tests.support.service import running
from tunnel.audit import AuditLog, verify
from tunnel.recording.recorder import Recorder
from tunnel.recording.signature import signer_of
from tunnel.recording.subject import Policy, RecordingRefused, Subject

SUBJECT = Subject(session="s1", serial="sn-1", case="SR1", engineer="ana", key_id="ana@SR1#0", command="version")


def _lines(path: Path | None) -> list[Any]:
    assert path is not None
    return [json.loads(line) for line in path.read_text().splitlines()]


def _marks(path: Path | None) -> list[dict[str, Any]]:
    return [json.loads(text) for _, code, text in _lines(path)[1:] if code == "m"]


def _recorder(folder: Path, **settings: Any) -> tuple[Recorder, AuditLog]:
    audit = AuditLog(folder / "audit.jsonl")
    return Recorder(folder / "recordings", audit, **settings), audit


def _events(audit: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audit.read_text().splitlines()]


async def test_a_recording_is_asciicast_with_a_marker_for_every_request(tmp_path: Path) -> None:
    recorder, audit = _recorder(tmp_path)
    subject = Subject(
        session="s1",
        serial="sn-1",
        case="SR1",
        term_type="xterm",
        term_size=(100, 30, 0, 0),
        term_modes={53: 1},
        environment={"LANG": "C"},
    )
    recording = recorder.open(subject)
    recording.output("grüß".encode()[:3])
    recording.output("grüß".encode()[3:])
    recording.resize(120, 40)
    recording.marker("signal", signal="INT")
    recording.finish(status=0)
    await recorder.flush()
    header, *events = _lines(recording.path)
    assert (header["version"], header["width"], header["height"], header["title"]) == (2, 100, 30, "SR1")
    assert (header["env"], header["gatepost"]["size_known"]) == ({"TERM": "xterm"}, True)
    assert "".join(text for _, code, text in events if code == "o") == "grüß"
    assert [text for _, code, text in events if code == "r"] == ["120x40"]
    marks = _marks(recording.path)
    assert [mark["kind"] for mark in marks] == ["pty", "env", "shell", "window", "signal", "close"]
    assert (marks[-1]["how"], marks[-1]["status"]) == ("ended", 0)
    assert [at for at, _, _ in events] == sorted(at for at, _, _ in events)
    audit.close()
    assert verify(tmp_path / "audit.jsonl") == 1


async def test_a_session_without_terminal_gets_a_size_that_players_take(tmp_path: Path) -> None:
    recorder, audit = _recorder(tmp_path)
    recording = recorder.open(SUBJECT)
    header = _lines(recording.path)[0]
    assert (header["width"], header["height"], header["gatepost"]["size_known"]) == (80, 24, False)
    assert header["command"] == "version"
    recording.finish()
    await recorder.flush()
    audit.close()


async def test_a_session_that_is_still_open_is_on_disk_too_and_is_closed_at_the_stop(tmp_path: Path) -> None:
    recorder, audit = _recorder(tmp_path)
    recording = recorder.open(SUBJECT)
    recording.output(b"so far")
    await recorder.flush()
    assert "so far" in [text for _, _, text in _lines(recording.path)[1:]]
    recording.finish()
    async with running(recorder):
        pass
    assert _marks(recording.path)[-1]["kind"] == "close"
    audit.close()


async def test_a_closed_recording_is_signed_and_the_audit_log_holds_its_hash(tmp_path: Path) -> None:
    recorder, audit = _recorder(tmp_path, signer=signer_of(ssh.make_key()))
    recording = recorder.open(SUBJECT)
    recording.finish()
    await recorder.flush()
    await recorder.seal()
    assert recording.path is not None
    assert recording.path.with_name(recording.path.name + ".sig").read_text().startswith("-----BEGIN SSH SIGNATURE")
    assert [event["event"] for event in _events(tmp_path / "audit.jsonl")] == [
        "recording",
        "recording-signed",
        "head",
    ]
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


async def test_a_session_whose_recording_fails_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    recorder, audit = _recorder(tmp_path)
    recording = recorder.open(SUBJECT, failed=told.append)
    whole = os.write

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        recording.output(b"lost?")
        await recorder.flush()
        await recorder.flush()
    assert os.write is whole
    assert len(told) == 1
    assert "No space left" in told[0]
    recording.finish()
    await recorder.flush()
    await recorder.flush()
    assert "lost?" in [text for _, _, text in _lines(recording.path)[1:]], "what the disk refused is written later"
    audit.close()


@pytest.mark.parametrize("policy", list(Policy))
async def test_where_nothing_can_be_recorded_the_policy_decides(tmp_path: Path, policy: Policy) -> None:
    (tmp_path / "recordings").write_text("in the way")
    recorder, audit = _recorder(tmp_path)
    if policy is Policy.STRICT:
        with pytest.raises(RecordingRefused, match="refused"):
            recorder.open(SUBJECT, policy)
        return audit.close()
    recording = recorder.open(SUBJECT, policy)
    recording.output(b"seen by nobody")
    recording.finish()
    await recorder.flush()
    loud = ["emergency"] if policy is Policy.EMERGENCY else []
    assert [event["event"] for event in _events(tmp_path / "audit.jsonl")] == [*loud, "unrecorded"]
    audit.close()
