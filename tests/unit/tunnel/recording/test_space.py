"""tunnel.recording.space and recorder on a disk that is really full."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.volume import MEBIBYTE, Volume, fill, mounted, on_a_volume
from tunnel.audit import AuditLog
from tunnel.config import RecordingSection
from tunnel.recording.recorder import Recorder
from tunnel.recording.space import BALLAST, Space
from tunnel.recording.subject import Policy, RecordingRefused, Subject

SUBJECT = Subject(session="s1", serial="sn-1", key_id="ana@SR1#0")


def _last(path: Path | None) -> dict[str, Any]:
    assert path is not None
    facts: dict[str, Any] = json.loads(json.loads(path.read_text().splitlines()[-1])[2])
    return facts


def _recorder(volume: Volume, folder: Path, **settings: Any) -> tuple[Recorder, AuditLog]:
    audit = AuditLog(folder / "audit.jsonl")
    return Recorder(volume.place / "recordings", audit, RecordingSection(**settings)), audit


@on_a_volume
async def test_a_full_disk_ends_a_strict_session_and_its_recording_is_closed_all_the_same(tmp_path: Path) -> None:
    with mounted(tmp_path, mebibytes=32) as volume:
        recorder, audit = _recorder(volume, tmp_path, recording_reserve="1M")
        told: list[str] = []
        recording = recorder.open(SUBJECT, failed=told.append)
        recording.output(b"before")
        await recorder.flush()
        Space(volume.place / "recordings", MEBIBYTE).keep()
        fill(volume.place / "filler")
        for _ in range(3):
            recording.output(b"x" * 20_000)
            await recorder.flush()
        assert len(told) == 1
        assert "No space left" in told[0]
        recording.output(b"the very end")
        recording.finish(status=255)
        for _ in range(5):
            await recorder.flush()
        assert (_last(recording.path)["kind"], _last(recording.path)["status"]) == ("close", 255)
        assert not (volume.place / "recordings" / BALLAST).exists()
        assert [json.loads(line)["event"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()] == [
            "recording-trouble",
            "recording",
        ]
        audit.close()


@on_a_volume
async def test_other_sessions_go_on_with_a_gap_and_are_recorded_again_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path, mebibytes=32) as volume:
        recorder, audit = _recorder(volume, tmp_path, recording_reserve=0)
        told: list[str] = []
        recording = recorder.open(SUBJECT, Policy.BEST_EFFORT, failed=told.append)
        fill(volume.place / "filler")
        for _ in range(1000):
            recording.output(b"x" * 20_000)
            if recording.pending > 8 * MEBIBYTE:
                break
        await recorder.flush()
        recording.output(b"lost")
        assert not told
        (volume.place / "filler").unlink()
        await recorder.flush()
        await recorder.flush()
        recording.output(b"found again")
        recording.finish()
        await recorder.flush()
        text = recording.path.read_text() if recording.path else ""
        marks = [json.loads(event[2]) for event in map(json.loads, text.splitlines()[1:]) if event[1] == "m"]
        assert [mark["octets"] > 0 for mark in marks if mark["kind"] == "gap"] == [True]
        assert "found again" in text
        assert '"lost"' not in text
        audit.close()


@on_a_volume
async def test_below_the_reserve_only_the_emergency_role_gets_in(tmp_path: Path) -> None:
    with mounted(tmp_path, mebibytes=32) as volume:
        recorder, audit = _recorder(volume, tmp_path, recording_reserve="1G")
        with pytest.raises(RecordingRefused, match="MiB are free, 1024 MiB have to be"):
            recorder.open(SUBJECT)
        assert recorder.open(SUBJECT, Policy.BEST_EFFORT).path is None
        recording = recorder.open(SUBJECT, Policy.EMERGENCY)
        recording.finish()
        await recorder.flush()
        assert _last(recording.path)["kind"] == "close"
        audit.close()


async def test_a_disk_that_is_slow_is_answered_by_holding_output_back_and_then_by_the_policy(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    recorder = Recorder(tmp_path / "recordings", audit)
    held: list[bool] = []
    told: list[str] = []
    recording = recorder.open(SUBJECT, failed=told.append, hold=held.append)
    while not held:
        recording.output(b"x" * 4096)
    assert not told
    for _ in range(3000):
        recording.output(b"x" * 4096)
    assert told == ["the disk does not keep up"]
    assert recording.pending < 9 * MEBIBYTE
    await recorder.flush()
    await asyncio.sleep(0)
    assert held == [True, False]
    recording.finish()
    await recorder.flush()
    audit.close()
