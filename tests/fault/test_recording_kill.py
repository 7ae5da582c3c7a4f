"""A recorder that is killed or loses its power: what is on the disk stays, and the file says where it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core import ssh
from tests.support.service import running
from tests.support.volume import mounted, on_a_volume
from tunnel.audit import AuditLog, check, events
from tunnel.recording.archive import recordings
from tunnel.recording.recorder import Recorder
from tunnel.recording.signature import allowed_line, signer_of
from tunnel.recording.verify import logged_of, verify


def _recording(folder: Path, rounds: int) -> tuple[subprocess.Popen[str], int]:
    """Start a recorder and let it bring some rounds to disk; gives it and the last number that it printed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.support.recorder_child", str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    number = 0
    for _ in range(rounds):
        number = int(child.stdout.readline())
    return child, number


def _kill(child: subprocess.Popen[str]) -> int:
    """Kill it; gives the last number that it printed."""
    child.kill()
    out, _ = child.communicate()
    return int(out.split()[-1]) if out.split() else 0


def _shown(path: Path) -> str:
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    return "".join(text for _, code, text in lines if code == "o")


@pytest.mark.parametrize("rounds", [1, 5, 17])
async def test_a_killed_recorder_leaves_a_recording_that_says_where_it_ends(tmp_path: Path, rounds: int) -> None:
    child, number = _recording(tmp_path, rounds)
    number = max(number, _kill(child))
    (path,) = recordings(tmp_path / "recordings")
    report = verify(path)
    assert report.problems == [f"not closed, intact up to {report.until_s:.1f} s"]
    await _start_again(tmp_path, path)
    assert f"line {number}\r\n" in _shown(path)


@on_a_volume
async def test_what_was_synced_survives_a_power_cut(tmp_path: Path) -> None:
    with mounted(tmp_path, mebibytes=32) as volume:
        child, number = _recording(volume.place, 10)
        volume.shut()
        _kill(child)
        volume.unmount()
        volume.mount()
        (path,) = recordings(volume.place / "recordings")
        assert not verify(path).closed
        await _start_again(volume.place, path)
        assert f"line {number}\r\n" in _shown(path)


async def _start_again(folder: Path, path: Path) -> None:
    """The next recorder closes it as cut and signs that."""
    key = ssh.make_key()
    log = folder / "log" / "audit.jsonl"
    audit = AuditLog(log)
    recorder = Recorder(folder / "recordings", audit, signer=signer_of(key))
    async with running(recorder):
        while not path.with_name(path.name + ".sig").exists():
            await recorder.flush()
    audit.close()
    os.sync()
    report = verify(path, allowed_line(ssh.public_text(key)), logged_of(events(log)))
    assert (report.problems, report.how, report.signature, report.audit) == ([], "cut", "good", "agrees")
    check(log)
