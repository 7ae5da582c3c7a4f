"""tunnel.recording.tap: which commands are followed, and what stock scp and sftp leave in the log."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.need import needs
from tunnel.recording.scp import ScpTap
from tunnel.recording.sftp import SftpTap
from tunnel.recording.tap import tap_for

ROOT = Path(__file__).parents[4]
BIG = os.urandom(3_000_001)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("scp -t captures", ScpTap),
        ("scp -v -r -p -d -t -- 'a b'", ScpTap),
        ("/usr/bin/scp -pf x", ScpTap),
        ("/usr/lib/openssh/sftp-server -l INFO", SftpTap),
        ("scp -t x; cat /etc/shadow", None),
        ("scp -f $(id)", None),
        ("scp x y", None),
        ("scp -tf x", None),
        ("scp 'unfinished", None),
        ("", None),
        ("rsync --server", None),
        ("myscp -t x", None),
    ],
)
def test_only_what_is_nothing_but_a_transfer_is_followed(command: str, kind: type | None) -> None:
    tap = tap_for(command, "", lambda _kind, _facts: None)
    assert tap is None if kind is None else isinstance(tap, kind)


def test_a_shell_and_another_subsystem_are_not_followed() -> None:
    assert tap_for(None, "", lambda _kind, _facts: None) is None
    assert tap_for(None, "netconf", lambda _kind, _facts: None) is None


def _stock(folder: Path, *command: str, stdin: str = "") -> tuple[int, list[dict[str, Any]]]:
    ssh = folder / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.support.tapped "$@"\n')
    ssh.chmod(0o755)
    notes = folder / "notes"
    environment = os.environ | {"GATEPOST_NOTES": str(notes), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [command[0], "-S", str(ssh), *command[1:]],
        input=stdin.encode(),
        cwd=folder,
        env=environment,
        timeout=60,
        capture_output=True,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in notes.read_text().splitlines()]


def _closed(notes: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    keys = ("direction", "path", "octets", "sha256", "status")
    return [tuple(note.get(key) for key in keys) for note in notes if note["kind"] == "file-close"]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@needs("scp", "sftp")
def test_stock_scp_in_its_old_form_both_ways(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(BIG)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "into").mkdir()
    status, notes = _stock(tmp_path, "scp", "-O", "big", "empty", f"far:{tmp_path}/into")
    assert (status, (tmp_path / "into" / "big").read_bytes()) == (0, BIG)
    assert _closed(notes) == [
        ("upload", "big", len(BIG), _sha256(BIG), "ok"),
        ("upload", "empty", 0, _sha256(b""), "ok"),
    ]
    (tmp_path / "notes").unlink()
    status, notes = _stock(tmp_path, "scp", "-O", "-r", "-p", f"far:{tmp_path}/into", "back")
    assert (status, (tmp_path / "back" / "big").read_bytes()) == (0, BIG)
    assert sorted(_closed(notes)) == [
        ("download", "into/big", len(BIG), _sha256(BIG), "ok"),
        ("download", "into/empty", 0, _sha256(b""), "ok"),
    ]


@needs("scp", "sftp")
def test_stock_scp_that_is_refused_and_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(BIG)
    status, notes = _stock(tmp_path, "scp", "-O", "big", f"far:{tmp_path}/no/such/place")
    assert status == 1
    assert [note["kind"] for note in notes if "trouble" in note or note["kind"] == "file-close"]
    assert not any("sha256" in note for note in notes)
    (tmp_path / "notes").unlink()
    status, notes = _stock(tmp_path, "scp", "-O", f"far:{tmp_path}/nothing", "x")
    assert status == 1
    assert "No such file" in notes[0]["trouble"]


@needs("scp", "sftp")
@pytest.mark.parametrize("program", ["sftp", "scp"])
def test_stock_sftp_both_ways(tmp_path: Path, program: str) -> None:
    (tmp_path / "big").write_bytes(BIG)
    (tmp_path / "empty").write_bytes(b"")
    if program == "sftp":
        lines = ["put big there", "put empty nought", "get there back", "get nought void"]
        batch = "\n".join([*lines, "mkdir d", "rename there d/moved", "rm nought", "ls", ""])
        status, notes = _stock(tmp_path, "sftp", "-b", "-", "far", stdin=batch)
    else:
        _stock(tmp_path, "scp", "-s", "big", f"far:{tmp_path}/there")
        _stock(tmp_path, "scp", "-s", "empty", f"far:{tmp_path}/nought")
        _stock(tmp_path, "scp", "-s", f"far:{tmp_path}/there", "back")
        status, notes = _stock(tmp_path, "scp", "-s", f"far:{tmp_path}/nought", "void")
    assert (status, (tmp_path / "back").read_bytes()) == (0, BIG)
    found = [(way, Path(path).name, octets, digest, status) for way, path, octets, digest, status in _closed(notes)]
    assert found == [
        ("upload", "there", len(BIG), _sha256(BIG), "ok"),
        ("upload", "nought", 0, _sha256(b""), "ok"),
        ("download", "there", len(BIG), _sha256(BIG), "ok"),
        ("download", "nought", 0, _sha256(b""), "ok"),
    ]
    assert not any("odd" in note or note["kind"] == "lost" for note in notes)
    if program == "sftp":
        operations = [note["op"] for note in notes if note["kind"] == "sftp"]
        assert {"init", "mkdir", "extended", "remove", "opendir", "realpath"} <= set(operations)
        moved = next(note for note in notes if note.get("name") == "posix-rename@openssh.com")
        assert Path(moved["target"]).name == "moved"
