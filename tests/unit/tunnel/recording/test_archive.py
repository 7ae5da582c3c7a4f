"""tunnel.recording.archive and upkeep: what a crash cut is closed and signed, what is too old goes, open ones stay."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import ssh
from core.errors import GatepostError
from tests.support.service import running
from tunnel.audit import AuditLog
from tunnel.config import RecordingSection
from tunnel.recording.archive import close_cut, recordings, remove_old, unsigned
from tunnel.recording.recorder import Recorder
from tunnel.recording.signature import signer_of
from tunnel.recording.subject import Subject

SUBJECT = Subject(session="s1", serial="sn-1", key_id="ana@SR1#0")


async def _cut(folder: Path, name: str = "s1") -> Path:
    """Make a recording whose recorder was killed."""
    recorder = Recorder(folder / "recordings", AuditLog(folder / "audit.jsonl"))
    recording = recorder.open(Subject(session=name, serial="sn-1"))
    for word in (b"one ", b"two ", b"three"):
        recording.output(word)
        await recorder.flush()
    assert recording.path is not None
    return recording.path


def _marks(path: Path) -> list[dict[str, Any]]:
    return [json.loads(event[2]) for event in map(json.loads, path.read_text().splitlines()[1:]) if event[1] == "m"]


async def test_a_recording_that_a_crash_cut_is_closed_as_cut_and_signed_at_the_next_start(tmp_path: Path) -> None:
    path = await _cut(tmp_path)
    path.write_bytes(path.read_bytes() + b'[1.0,"o","tor')
    audit = AuditLog(tmp_path / "audit.jsonl")
    recorder = Recorder(tmp_path / "recordings", audit, signer=signer_of(ssh.make_key()))
    async with running(recorder):
        while not path.with_name(path.name + ".sig").exists():
            await recorder.flush()
    marks = _marks(path)
    assert (marks[-1]["kind"], marks[-1]["how"]) == ("close", "cut")
    assert base64.b64decode(marks[-2]["base64"]) == b'[1.0,"o","tor'
    events = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(event["event"], event.get("how")) for event in events][:2] == [
        ("recording", "cut"),
        ("recording-signed", None),
    ]
    assert unsigned(tmp_path / "recordings") == []
    audit.close()


async def test_what_is_cut_anywhere_is_whole_lines_again_and_is_closed_once(tmp_path: Path) -> None:
    whole = (await _cut(tmp_path)).read_bytes()
    header = whole.index(b"\n") + 1
    path = tmp_path / "cut.cast"

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
    @given(st.integers(header, len(whole)), st.binary(max_size=20))
    def cut(at: int, garbage: bytes) -> None:
        path.write_bytes(whole[:at] + garbage.replace(b"\n", b""))
        closed = close_cut(path)
        assert closed is not None
        assert closed.cut
        assert closed.octets == path.stat().st_size
        assert _marks(path)[-1]["kind"] == "close"
        again = close_cut(path)
        assert again is not None
        assert (again.cut, again.digest, again.sha256) == (False, closed.digest, closed.sha256)

    cut()


def test_an_empty_file_goes_and_a_recording_of_the_first_form_stays_as_it_is(tmp_path: Path) -> None:
    empty, old = tmp_path / "empty.cast", tmp_path / "old.cast"
    empty.touch()
    old.write_text('{"version": 2, "width": 80, "height": 24, "gatepost": {"id": "x"}}\n[0.1, "o", "hi"]\n')
    before = old.read_bytes()
    assert close_cut(empty) is None
    assert close_cut(old) is None
    assert not empty.exists()
    assert old.read_bytes() == before


async def test_a_key_that_is_away_signs_later(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key = ssh.make_key()
    there: list[bool] = []

    async def sign(digest: bytes) -> str:
        if not there:
            raise GatepostError("keyd is not running", 69)
        return await signer_of(key)(digest)

    audit = AuditLog(tmp_path / "audit.jsonl")
    recorder = Recorder(tmp_path / "recordings", audit, signer=sign)
    recording = recorder.open(SUBJECT)
    recording.finish()
    await recorder.flush()
    await recorder.seal()
    assert len(unsigned(tmp_path / "recordings")) == 1
    assert "keyd is not running" in capfd.readouterr().err
    there.append(True)
    await recorder.seal()
    assert unsigned(tmp_path / "recordings") == []
    audit.close()


def _old(folder: Path, day: str, age_s: float, octets: int = 100) -> Path:
    path = folder / day / f"sn-1-{day}.cast"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(octets))
    path.with_name(path.name + ".sig").write_text("signature")
    os.utime(path, (1e9 - age_s, 1e9 - age_s))
    return path


def test_what_is_too_old_or_too_much_goes_and_what_is_open_stays(tmp_path: Path) -> None:
    first, second, third = (_old(tmp_path, f"2001-0{n}-01", 86400 * (40 - 10 * n)) for n in (1, 2, 3))
    gone = list(remove_old(tmp_path, 25, 0, 1e9, set()))
    assert [(one.path, one.why) for one in gone] == [(first, "older than 25 days")]
    assert not first.parent.exists()
    assert list(remove_old(tmp_path, 0, 100, 1e9, {second})) == []
    gone = list(remove_old(tmp_path, 0, 150, 1e9, set()))
    assert [one.path for one in gone] == [second]
    assert recordings(tmp_path) == [third]


async def test_removal_is_an_audit_line(tmp_path: Path) -> None:
    old = _old(tmp_path / "recordings", "2001-01-01", 0)
    audit = AuditLog(tmp_path / "audit.jsonl")
    recorder = Recorder(tmp_path / "recordings", audit, RecordingSection(recording_keep_days=1))
    async with running(recorder):
        while old.exists():
            await recorder.flush()
    events = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(event["event"], event["path"]) for event in events] == [
        ("recording-removed", "2001-01-01/sn-1-2001-01-01.cast")
    ]
    audit.close()


async def test_a_signature_that_cannot_be_written_does_not_hold_up_the_others(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    audit = AuditLog(tmp_path / "audit.jsonl")
    recorder = Recorder(tmp_path / "recordings", audit, signer=signer_of(ssh.make_key()))
    paths = []
    for name in ("s1", "s2"):
        recording = recorder.open(Subject(session=name, serial="sn-1"))
        recording.finish()
        assert recording.path is not None
        paths.append(recording.path)
    (paths[0].with_name(paths[0].name + ".sig.new")).mkdir()
    await recorder.flush()
    await recorder.seal()
    assert unsigned(tmp_path / "recordings") == [paths[0]]
    assert "cannot be written" in capfd.readouterr().err
    audit.close()
