"""tunnel.recording.verify and signature: what was changed is found and named, by us and by stock ssh-keygen."""

import errno
import fcntl
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from core import ssh
from core.errors import GatepostError
from tests.support.need import needs
from tests.support.recorded import Recorded
from tunnel.audit import events
from tunnel.recording.signature import allowed_line, is_signed, sign_digest
from tunnel.recording.verify import logged_of, verify


async def test_an_untouched_recording_is_proved_by_chain_signature_and_audit_log(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    path = await recorded.make()
    report = verify(path, allowed_line(recorded.public), logged_of(events(recorded.log)))
    assert report.good
    assert (report.closed, report.how, report.signature, report.audit) == (True, "ended", "good", "agrees")
    assert report.octets == path.stat().st_size
    assert "intact" in report.line


async def test_one_changed_octet_anywhere_is_found(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    path = await recorded.make()
    whole = path.read_bytes()
    logged = logged_of(events(recorded.log))
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        report = verify(path, allowed_line(recorded.public), logged)
        assert not report.good, at
        assert (report.signature, report.audit) == ("bad", "differs")


async def test_the_first_place_that_differs_is_named(tmp_path: Path) -> None:
    path = await Recorded(tmp_path).make()
    lines = path.read_text().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if "version" in line and n)
    lines[number] = lines[number].replace("version", "reboot ")
    path.write_text("".join(lines))
    report = verify(path)
    assert "something between" in report.problems[0]
    assert report.problems[0].startswith(f"line {number + 2}: ")
    del lines[number]
    path.write_text("".join(lines))
    assert "something between" in verify(path).problems[0]
    path.write_text("".join(lines[:3]) + "nonsense\n" + "".join(lines[3:]))
    assert verify(path).problems[0] == "line 4: is no event"


async def test_what_was_cut_is_said_to_be_not_closed_and_intact_up_to_a_time(tmp_path: Path) -> None:
    path = await Recorded(tmp_path).make(finished=False)
    report = verify(path)
    assert (report.closed, report.problems) == (False, [f"not closed, intact up to {report.until_s:.1f} s"])
    path.write_bytes(path.read_bytes() + b'[1.0,"o","half')
    assert verify(path).problems == report.problems


async def test_a_session_that_still_runs_is_said_to_and_is_no_fault(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    path = await recorded.make(finished=False, killed=False)
    line = allowed_line(recorded.public)
    report = verify(path, line, logged_of(events(recorded.log)))
    assert (report.good, report.running, report.closed) == (True, True, False)
    assert f"still running, intact up to {report.until_s:.1f} s" in report.line
    whole = path.read_bytes()
    path.write_bytes(whole + b'[1.0,"o","half')
    assert verify(path, line).good, "a line that is being written"
    path.write_bytes(whole.replace(rb"version\r", rb"reboot \r"))
    assert "was changed" in verify(path, line).problems[0]
    path.write_bytes(whole)
    [file] = recorded.recorder._files.values()
    file.close()
    assert "not closed" in verify(path, line).problems[0]


async def test_an_archive_on_a_file_system_without_locks_could_not_be_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await Recorded(tmp_path).make()

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    report = verify(path)
    assert (report.good, report.running, report.closed) == (True, False, True)


async def test_what_comes_after_the_close_record_and_a_missing_signature_are_found(tmp_path: Path) -> None:
    path = await Recorded(tmp_path).make()
    whole = path.read_bytes()
    path.write_bytes(whole + b'[99.0,"o","more"]\n')
    assert "after the close record" in verify(path).problems[0]
    path.write_bytes(whole)
    path.with_name(path.name + ".sig").unlink()
    assert verify(path).problems == ["the signature is missing"]


async def test_a_recording_whose_chain_was_made_anew_fails_by_signature_and_audit_log(tmp_path: Path) -> None:
    recorded, other = Recorded(tmp_path / "a"), Recorded(tmp_path / "b")
    path, forged = await recorded.make(), await other.make()
    path.write_bytes(forged.read_bytes())
    path.with_name(path.name + ".sig").write_bytes(forged.with_name(forged.name + ".sig").read_bytes())
    report = verify(path, allowed_line(recorded.public), logged_of(events(recorded.log)))
    assert (report.signature, report.audit) == ("bad", "differs")


def test_a_recording_of_the_first_form_is_proved_by_the_audit_log(tmp_path: Path) -> None:
    path = tmp_path / "2026-01-01" / "sn-1-x.cast"
    path.parent.mkdir()
    path.write_text('{"version": 2, "width": 80, "height": 24, "gatepost": {"id": "x"}}\n[0.1, "o", "hi"]\n')
    sha256 = verify(path).sha256
    line = {"event": "recording", "path": f"/somewhere/recordings/2026-01-01/{path.name}", "sha256": sha256}
    assert verify(path, "", logged_of([line])).good
    assert not verify(path, "", logged_of([line | {"sha256": "0"}])).good
    assert not verify(path, "", {}).good


def test_other_files_are_no_recordings(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(GatepostError, match="cannot be read"):
        verify(path)
    path.write_bytes(b"")
    assert verify(path).problems == ["is empty"]
    path.write_bytes(b"\x00\xff\n\n[")
    assert verify(path).problems == ["line 1 is not the header of a recording"]


@needs("ssh-keygen")
async def test_stock_ssh_keygen_accepts_the_signature_and_rejects_one_changed_byte(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    path = await recorded.make()
    allowed = tmp_path / "allowed"
    allowed.write_text(allowed_line(recorded.public) + "\n")

    def stock() -> int:
        command = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "gatepost", "-n", "gatepost-recording"]
        with path.open("rb") as file:
            done = subprocess.run([*command, "-s", f"{path}.sig"], stdin=file, capture_output=True, check=False)
        return done.returncode

    assert stock() == 0
    whole = path.read_bytes()
    path.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    assert stock() != 0


@needs("ssh-keygen")
def test_a_signature_by_stock_ssh_keygen_is_good_only_in_our_namespace_and_by_our_signer(tmp_path: Path) -> None:
    ssh.write_key(tmp_path / "key", ssh.make_key())
    public = (tmp_path / "key.pub").read_text()
    for namespace, good in (("gatepost-recording", True), ("file", False)):
        path = tmp_path / namespace
        path.write_text("what was recorded")
        command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(tmp_path / "key"), "-n", namespace, str(path)]
        subprocess.run(command, check=True, capture_output=True)
        signature = path.with_name(path.name + ".sig").read_bytes()
        bare = f"somebody {public}"
        digest = hashlib.sha512(path.read_bytes()).digest()
        assert is_signed(digest, signature, bare) is good
        assert is_signed(digest, signature, allowed_line(public)) is good
        assert not is_signed(digest, signature, allowed_line(ssh.public_text(ssh.make_key())))
        assert not is_signed(bytes(64), signature, bare)
        assert not is_signed(digest, b"nonsense", bare)
        assert not is_signed(digest, signature[:80] + b"!" + signature[81:], bare)


def test_a_sha256_digest_is_signed_as_well() -> None:
    key = ssh.make_key()
    assert is_signed(bytes(32), sign_digest(key, bytes(32)).encode(), allowed_line(ssh.public_text(key)))


async def test_a_removed_recording_is_not_missed(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    path = await recorded.make()
    name = f"{path.parent.name}/{path.name}"
    assert set(logged_of(events(recorded.log))) == {name}
    with recorded.log.open("a") as file:
        file.write(json.dumps({"event": "recording-removed", "path": name, "previous": ""}) + "\n")
    assert logged_of(events(recorded.log)) == {}
