"""The road of a support case on the command line, with a real keyd: enrolment, approval, seed, certificates."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import agreement, ssh
from core.ssh import certificate_facts, read_certificate
from daemons.gatepost import main
from daemons.initial import make
from tests.support.lab import GATEPOST, is_ready, short_folder
from tests.support.need import needs
from tests.support.ports import free_ports
from tests.support.waiting import eventually
from tunnel.audit import verify
from tunnel.keyd.keyring import Keyring
from tunnel.seed.code import new_code

pytestmark = pytest.mark.slow
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as path:
        yield path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run `gatepost bastion …` on a bastion whose keyd runs; gives status, output, errors."""
    make("bastion", folder / "b", hostname="b.example.test")
    config = folder / "b" / "gatepost.toml"
    serial = f"0123456789ABCDEF0123-{free_ports(1)[0]:012X}"
    config.write_text(
        f'[appliance]\nrole = "bastion"\nserial = "{serial}"\nhostname = "b.example.test"\n'
        '[bastion]\nengineer_address = "127.62.3.2"\nengineer_port = 2222\n'
    )
    keyd = subprocess.Popen([*GATEPOST, "run", "keyd", "--config", str(config)], stderr=subprocess.PIPE)

    def ran(*words: str, stdin: str = "") -> tuple[int, str, str]:
        (folder / "stdin").write_text(stdin)
        with (folder / "stdin").open() as file:
            monkeypatch.setattr("sys.stdin", file)
            capsys.readouterr()
            status = main(["bastion", *words, "--config", str(config)])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    try:
        eventually(lambda: is_ready(folder / "b" / "run" / "keyd.sock"), "keyd is ready")
        yield ran
    finally:
        keyd.terminate()
        keyd.communicate(timeout=60)


def _appliance(folder: Path, name: str, run: Run, capsys: pytest.CaptureFixture[str]) -> str:
    """Make an appliance and enrol it by the document that it prints; gives its serial."""
    serial = make("esa", folder / name, hostname=f"{name}.example.test")
    capsys.readouterr()
    assert main(["bastion", "request", "--config", str(folder / name / "gatepost.toml")]) == 0
    request = folder / f"{name}.json"
    request.write_text(capsys.readouterr().out)
    assert run("enroll", serial, "--request", str(request))[0] == 0
    return serial


def _engineer(folder: Path, name: str, run: Run, *more: str) -> Path:
    ssh.write_key(folder / name, ssh.make_key())
    assert run("engineer", "add", name, "--key", str(folder / f"{name}.pub"), *more)[0] == 0
    return folder / f"{name}.pub"


def _fails(result: tuple[int, str, str], status: int, remedy: str) -> None:
    assert (result[0], result[2].count("\n")) == (status, 1), result
    assert remedy in result[2]


def test_a_case_from_the_enrolment_to_the_certificate(
    folder: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    serial = _appliance(folder, "e", run, capsys)
    name = serial.lower()
    shown = json.loads(run("appliances", "--json")[1])["appliances"]
    facts = [(one["serial"], one["connected"], one["last_seen_at"], one["seed_strings"]) for one in shown]
    assert facts == [(name, False, None, True)]
    key = folder / "ana.pub"
    sign = ("ca", "sign", "--key", str(key), "--engineer", "ana", "--case", "SR1", "--serials", serial)
    ssh.write_key(folder / "ana", ssh.make_key())
    _fails(run(*sign), 69, "engineer add ana")
    _fails(run("engineer", "add", "ana"), 64, "--key FILE")
    assert run("engineer", "add", "ana", "--key", str(key))[0] == 0
    _engineer(folder, "eva", run)
    _fails(run(*sign), 69, "case open SR1")
    _fails(run("case", "open", "SR1", "--serial", "A-9", "--engineer", "ana"), 69, "enroll A-9")
    status, out, _ = run("case", "open", "SR1", "--serial", serial, "--engineer", "ana")
    assert (status, "it has never come in" in out, "case approve SR1" in out) == (0, True, True)
    assert f"next: gatepost bastion case seed SR1 {serial}\n" in out
    assert "is not approved" in run(*sign)[1]
    _fails(run("case", "approve", "SR1", "--by", "ana"), 77, "a second person")
    assert run("case", "approve", "SR1", "--by", "eva")[0] == 0
    lacks = json.loads(run("case", "show", "SR1", "--json")[1])["lacks"]
    assert lacks == [f"gatepost bastion case seed SR1 {serial}"]

    support = Keyring(folder / "b" / "keyd").support_keys()[-1]
    seed = new_code(support.key_id, time.time() + 86_400)
    wrong = seed[:-1] + ("0" if seed[-1] != "0" else "1")
    _fails(run("case", "seed", "SR1", serial, stdin=wrong + "\n"), 65, "mistyped")
    _fails(run("case", "seed", "SR1", serial), 64, "no seed string was given")
    _fails(run("password", "SR1", serial), 69, f"case seed SR1 {serial}")
    taken = json.loads(run("case", "seed", "SR1", serial, "--json", stdin=f" {seed.lower()} \n")[1])
    assert (taken["checked"], len(taken["seed_fingerprint"])) == (False, 16)
    numbers = [json.loads(run("password", "SR1", serial, "--json")[1])["number"] for _ in range(2)]
    assert numbers == [0, 1]

    assert run(*sign)[0] == 0
    certificate = certificate_facts(read_certificate(folder / "ana-cert.pub"))
    assert certificate.principals == (name,)
    assert certificate.key_id.startswith("ana@SR1#")
    assert 800 < certificate.valid_before_at - time.time() <= 900
    ssh.write_key(folder / "other", ssh.make_key())
    foreign = ("ca", "sign", "--key", str(folder / "other.pub"), "--engineer", "ana", "--case", "SR1")
    _fails(run(*foreign), 77, "engineer add ana --key FILE")
    _fails(run(*sign, "--forwarding"), 77, "--roles shell,sftp,forward")

    status, out, _ = run("case", "close", "SR1")
    assert (status, "1 grants are gone" in out) == (0, True)
    _fails(run(*sign), 69, "is closed")
    log = (folder / "b" / "log" / "support.jsonl").read_text()
    assert verify(folder / "b" / "log" / "support.jsonl") == log.count("\n")
    assert seed not in log
    assert '"event":"case-approve"' in log


@needs("ssh")
def test_who_goes_straight_through_gets_certificates_for_the_appliances_and_a_configuration_that_ssh_takes(
    folder: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first, behind = (_appliance(folder, name, run, capsys) for name in ("e", "f"))
    key = _engineer(folder, "ana", run, "--roles", "shell,forward")
    opened = ("case", "open", "SR1", "--serial", first, "--engineer", "ana")
    assert run(*opened)[0] == 0
    _fails(run("case", "open", "SR1", "--serial", behind, "--via", behind, "--address", "10.1.1.5"), 64, "itself")
    assert run("case", "open", "SR1", "--serial", behind, "--via", first, "--address", "10.1.1.5")[0] == 0
    support = Keyring(folder / "b" / "keyd").support_keys()[-1]
    sign = ("ca", "sign", "--key", str(key), "--engineer", "ana", "--case", "SR1", "--forwarding", "--json")
    assert len(json.loads(run(*sign)[1])["notes"]) == 3
    for serial in (first, behind):
        seed = new_code(support.key_id, time.time() + 86_400)
        assert run("case", "seed", "SR1", serial, stdin=seed + "\n")[0] == 0
    document = json.loads(run(*sign)[1])
    assert [one["serial"] for one in document["appliances"]] == sorted([first.lower(), behind.lower()])
    words = ["ssh", "-G", "-F", document["ssh_config"]]
    shown, as_printed = (
        subprocess.run([*words, name], capture_output=True, text=True, check=True).stdout.splitlines()
        for name in (behind.lower(), behind.upper())
    )
    said = [line for line in shown if not line.startswith("host ")]
    assert [line for line in as_printed if not line.startswith("host ")] == said
    certificate = folder / f"ana-{behind.lower()}-cert.pub"
    assert {
        "user service",
        "hostname 10.1.1.5",
        f"proxyjump {first.lower()}",
        f"certificatefile {certificate}",
        f"hostkeyalias {behind.lower()}",
        "serveraliveinterval 15",
    } <= set(shown)
    printed = subprocess.run(["ssh-keygen", "-L", "-f", certificate], capture_output=True, text=True, check=True).stdout
    assert "permit-port-forwarding" not in printed
    front = folder / f"ana-{first.lower()}-cert.pub"
    printed = subprocess.run(["ssh-keygen", "-L", "-f", front], capture_output=True, text=True, check=True).stdout
    assert "permit-port-forwarding" in printed


def test_without_keyd_it_is_said_how_it_is_started(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make("bastion", folder / "b", hostname="b.example.test")
    config = folder / "b" / "gatepost.toml"
    text = config.read_text().replace("#engineer_address = (needed)", 'engineer_address = "127.62.3.2"')
    config.write_text(text)
    ssh.write_key(folder / "ana", ssh.make_key())
    common = ("--config", str(config))
    make("esa", folder / "e", hostname="e.example.test", serial="0123456789ABCDEF0123-0123456789AB")
    agreement.ensure_key(folder / "e" / "keys" / "exchange_x25519")
    request = str(folder / "request")
    words = [
        ["request", "--out", request, "--config", str(folder / "e" / "gatepost.toml")],
        ["enroll", "0123456789ABCDEF0123-0123456789AB", "--request", request, *common],
        ["engineer", "add", "ana", "--key", str(folder / "ana.pub"), *common],
        ["case", "open", "SR1", "--serial", "0123456789ABCDEF0123-0123456789AB", "--engineer", "ana", *common],
    ]
    assert [main(["bastion", *each]) for each in words] == [0, 0, 0, 0]
    capsys.readouterr()
    sign = ["ca", "sign", "--key", str(folder / "ana.pub"), "--engineer", "ana", "--case", "SR1", *common]
    assert main(["bastion", *sign]) == 69
    assert "gatepost run keyd" in capsys.readouterr().err
