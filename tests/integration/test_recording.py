"""What engineers do through the bastion, with stock clients, and what the recordings and the audit log say of it."""

import asyncio
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core import ssh
from tests.support.need import needs
from tests.support.remote import NAME, Appliance, Engineer, Support, connected
from tests.support.waiting import until
from tunnel.audit import check, events
from tunnel.recording import upkeep
from tunnel.recording.archive import recordings, unsigned
from tunnel.recording.signature import allowed_line, is_signed
from tunnel.recording.verify import logged_of, verify

BIG = os.urandom(2_000_003)
SHA256 = hashlib.sha256(BIG).hexdigest()


def _signer(support: Support) -> str:
    return allowed_line(ssh.public_text(ssh.read_key(support.directory / "keyd" / "recording_ed25519")))


async def _finished(support: Support, count: int) -> list[Path]:
    """Wait until so many recordings are closed, signed and in the audit log, and prove each."""
    folder = support.directory / "recordings"
    await until(lambda: len(recordings(folder)) >= count and not unsigned(folder))
    found = recordings(folder)
    logged = logged_of(events(support.directory / "log" / "audit.jsonl"))
    for path in found:
        report = verify(path, _signer(support), logged)
        assert (report.problems, report.signature, report.audit) == ([], "good", "agrees")
    return found


def _marks(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    return [json.loads(text) for _, code, text in lines if code == "m"]


async def _stock(engineer: Engineer, support: Support, program: str, *words: str, stdin: str = "") -> tuple[int, str]:
    options = [f"CertificateFile={engineer.certificate}", f"UserKnownHostsFile={engineer.known_hosts}"]
    options += ["IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=yes"]
    flags = [word for option in options for word in ("-o", option)]
    process = await asyncio.create_subprocess_exec(
        *(program, "-F", "none", "-i", str(engineer.key_path), "-P", str(support.engineers), *flags, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, errors = await process.communicate(stdin.encode())
    return process.returncode or 0, errors.decode()


def _captures(appliance: Appliance) -> Path:
    folder = appliance.state_file.parent / "captures"
    folder.mkdir(exist_ok=True)
    (folder / "dump.pcap").write_bytes(BIG)
    return folder


@needs("sftp", "ssh-keygen")
async def test_files_that_stock_sftp_moves_are_in_recording_and_audit_log(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, appliance, _client):
        captures = _captures(appliance)
        engineer = Engineer(support, tmp_path / "ana")
        (captures.parent / "configuration").mkdir()
        batch = f"get captures/dump.pcap {tmp_path}/got\nput {tmp_path}/got configuration/back\n"
        status, errors = await _stock(engineer, support, "sftp", "-b", "-", f"{NAME}@127.0.0.1", stdin=batch)
        assert status == 0, errors
        assert (tmp_path / "got").read_bytes() == BIG
        assert (captures.parent / "configuration" / "back").read_bytes() == BIG
        (path,) = await _finished(support, 1)
        closed = [mark for mark in _marks(path) if mark["kind"] == "file-close"]
        assert [(mark["direction"], mark["octets"], mark["sha256"]) for mark in closed] == [
            ("download", len(BIG), SHA256),
            ("upload", len(BIG), SHA256),
        ]
        logged = [event for event in support.audit() if event["event"] == "file-close"]
        assert [event["sha256"] for event in logged] == [SHA256, SHA256]
        assert logged[0]["key_id"].startswith("ana@")
        assert path.stat().st_size < 100_000, "no content"
        assert _stock_verify(support, tmp_path, path) == 0
        path.write_bytes(path.read_bytes().replace(b"dump", b"d0mp", 1))
        assert _stock_verify(support, tmp_path, path) != 0


def _stock_verify(support: Support, folder: Path, path: Path) -> int:
    (folder / "signers").write_text(_signer(support) + "\n")
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        str(folder / "signers"),
        "-I",
        "gatepost",
        "-n",
        "gatepost-recording",
    ]
    with path.open("rb") as file:
        return subprocess.run([*command, "-s", f"{path}.sig"], stdin=file, capture_output=True, check=False).returncode


@needs("scp")
@pytest.mark.parametrize("form", ["-O", "-s"])
async def test_files_that_stock_scp_moves_are_in_the_recording(tmp_path: Path, form: str) -> None:
    async with connected(tmp_path) as (support, appliance, _client):
        _captures(appliance)
        engineer = Engineer(support, tmp_path / "ana")
        far = f"{NAME}@127.0.0.1:captures/dump.pcap"
        status, errors = await _stock(engineer, support, "scp", form, far, str(tmp_path / "got"))
        assert status == 0, errors
        assert (tmp_path / "got").read_bytes() == BIG
        (path,) = await _finished(support, 1)
        (closed,) = (mark for mark in _marks(path) if mark["kind"] == "file-close")
        assert (closed["direction"], closed["sha256"], closed["status"]) == ("download", SHA256, "ok")
        assert closed["protocol"] == ("scp" if form == "-O" else "sftp")


@needs("ssh")
async def test_a_command_with_a_terminal_is_recorded_like_a_shell(tmp_path: Path) -> None:
    """A command line with a terminal was recorded elsewhere as the command line only (I18)."""
    async with connected(tmp_path) as (support, _appliance, _client):
        engineer = Engineer(support, tmp_path / "ana")
        assert (await engineer.stock("-tt", f"{NAME}@127.0.0.1", "flood 100"))[0] == 0
        assert (await engineer.stock(f"{NAME}@127.0.0.1", "exit 7"))[0] == 7
        found = await _finished(support, 2)
        texts = [path.read_text() for path in found]
        assert sum("x" * 100 in text for text in texts) == 1
        kinds = {tuple(mark["kind"] for mark in _marks(path) if mark["kind"] in ("pty", "exec")) for path in found}
        assert kinds == {("pty", "exec"), ("exec",)}
        assert sorted(_marks(path)[-1]["status"] for path in found) == [0, 7]


@needs("ssh")
async def test_the_emergency_role_gets_in_where_nothing_can_be_recorded_and_that_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        await support.employ("eva", roles=("shell", "emergency"))
        (support.directory / "recordings").write_text("in the way")
        plain = Engineer(support, tmp_path / "ana")
        urgent = Engineer(support, tmp_path / "eva", engineer="eva")
        status, _, errors = await plain.stock(f"{NAME}@127.0.0.1", "who")
        assert status != 0
        assert b"cannot be recorded" in errors
        status, out, _ = await urgent.stock(f"{NAME}@127.0.0.1", "who")
        assert (status, b"eva" in out) == (0, True)
        names = [event["event"] for event in support.audit()]
        assert "emergency" in names
        assert "unrecorded" in names
    assert "emergency access by eva@" in capfd.readouterr().err


async def test_the_audit_log_is_signed_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "HOUR_S", 0.1)
    monkeypatch.setattr(upkeep, "ROUND_S", 0.1)
    async with connected(tmp_path) as (support, _appliance, _client):
        signer = _signer(support)
        await until(lambda: any(event["event"] == "head" for event in support.audit()))
    report = check(
        support.directory / "log" / "audit.jsonl", lambda digest, signature: is_signed(digest, signature, signer)
    )
    assert report.heads >= 1
    assert report.covered > 1
