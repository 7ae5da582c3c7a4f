"""gatepost bastion replay|verify: exit statuses, documents, and what they refuse."""

import json
from pathlib import Path

import pytest

from core import ssh
from daemons.gatepost import main
from tests.support.recorded import Recorded
from tunnel.recording.signature import allowed_line


async def _appliance(folder: Path) -> tuple[Recorded, Path, Path]:
    """An appliance's directory with one recording of its own."""
    recorded = Recorded(folder)
    recorded.log = folder / "log" / "service.jsonl"
    path = await recorded.make()
    (folder / "keys").mkdir()
    ssh.write_key(folder / "keys" / "host_ed25519", recorded.key)
    config = folder / "gatepost.toml"
    config.write_text('[appliance]\nrole = "esa"\nserial = "SN-1"\nhostname = "esa.example.test"\n')
    return recorded, path, config


async def test_verify_all_and_the_audit_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded, path, config = await _appliance(tmp_path)
    assert _run("verify", "--all", "--config", str(config), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    (one,) = document["recordings"]
    assert (one["good"], one["signature"], one["audit"], document["missing"]) == (True, "good", "agrees", [])
    assert _run("verify", "--audit", "--config", str(config)) == 0
    said = capsys.readouterr().out
    assert "intact; lines: 3, files: 1; good signatures: 1, the last covers the first 2 lines" in said
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"version\\r", b"reboots\\r", 1))
    assert _run("verify", str(path), "--config", str(config)) == 65
    assert "was changed" in capsys.readouterr().out
    path.unlink()
    assert _run("verify", "--all", "--config", str(config)) == 65
    assert "is in the audit log and not on the disk" in capsys.readouterr().out
    recorded.log.write_bytes(recorded.log.read_bytes().replace(b"SR1", b"SR2").replace(b'"at"', b'"ta"', 1))
    assert _run("verify", "--audit", "--config", str(config)) == 65
    assert "the chain breaks before line 2" in capsys.readouterr().out
    assert _run("verify", "--audit", str(recorded.log), "--json") == 65
    assert "breaks" in json.loads(capsys.readouterr().out)["logs"][0]["problem"]


async def test_verify_with_the_signers_of_a_file_and_without_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = Recorded(tmp_path)
    path = await recorded.make()
    assert _run("verify", str(path)) == 0
    assert "signatures are not checked" in capsys.readouterr().err
    signers = tmp_path / "signers"
    for key, status in ((recorded.public, 0), (ssh.public_text(ssh.make_key()), 65)):
        signers.write_text(allowed_line(key) + "\n")
        assert _run("verify", str(path), "--allowed-signers", str(signers)) == status


async def test_replay_as_text_and_only_on_a_terminal_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = await Recorded(tmp_path).make()
    assert _run("replay", str(path), "--text") == 0
    assert "esa (SERVICE)> version\n" in capsys.readouterr().out
    assert _run("replay", str(path)) == 64
    assert "--text shows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["verify"], 64),
        (["verify", "--all", "--config", "/nothing/there"], 78),
        (["verify", "--audit", "--config", "/nothing/there"], 78),
        (["verify", "--all", "x"], 64),
        (["verify", "--audit", "/nothing/there"], 66),
        (["verify", "/nothing/there"], 66),
        (["replay", "/nothing/there", "--text"], 66),
        (["replay", "/nothing/there", "--speed", "0"], 64),
    ],
)
def test_wrong_usage(words: list[str], status: int) -> None:
    assert _run(*words) == status


def _run(*words: str) -> int:
    return main(["bastion", *words])
