"""Remote access as its three parties use it, at real machines: administrator, engineer and support organisation."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.lab import Lab, Ran, gatepost, ran, running_lab, ssh_argv
from tests.support.need import needs
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, needs("ssh", "sftp", "scp")]
CASE = "LAB-1"
SEED = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{4}(?:-[0-9A-HJKMNP-TV-Z]{4}){4}\b")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with running_lab("127.26", "127.126") as lab:
        yield lab


def desk(lab: Lab, *words: str, stdin: str = "") -> Ran:
    """Run a command of the support organisation."""
    return gatepost("bastion", *words, "--config", str(lab.config("bastion")), stdin=stdin)


def status(lab: Lab, role: str = "esa") -> Any:
    return lab.ssh(role, "techsupport", "status", "--json").document


def allow(lab: Lab, *terms: str) -> Any:
    """Enable the ESA's tunnel anew, tell support its seed, and wait until an engineer gets through."""
    document = lab.ssh("esa", "techsupport", "tunnel", "--port", "2025", *terms, "--json").document
    taken = desk(lab, "case", "seed", CASE, lab.serial("esa"), stdin=document["seed"] + "\n")
    assert taken.status == 0, taken
    return document


@pytest.fixture
def allowed(lab: Lab) -> Lab:
    """A lab whose ESA lets support in without asking."""
    document = status(lab)
    if document["mode"] != "tunnel" or document["ask"] or lab.engineer("version").status != 0:
        allow(lab)
        eventually(lambda: lab.engineer("version").status == 0, "an engineer gets through")
    return lab


@contextmanager
def engineer_inside(lab: Lab, *words: str, terminal: bool = True) -> Iterator[subprocess.Popen[str]]:
    """Have an engineer's session open through the bastion; what it is told goes to its standard input."""
    facts = lab.facts
    host, _, port = facts["bastion"]["engineers"].rpartition(":")
    argv = ssh_argv(facts["engineer"]["key"], facts["engineer"]["known_hosts"], port)
    argv += ["-o", f"CertificateFile={facts['engineer']['certificate']}", *(["-tt"] if terminal else [])]
    argv += [f"{lab.serial('esa').lower()}@{host}", *words]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(argv, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def sessions(lab: Lab, kind: str = "sessions") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = status(lab)[kind]
    return found


def test_status_says_all_that_an_administrator_asks(allowed: Lab) -> None:
    eventually(lambda: not sessions(allowed), "who was inside before is gone")
    for document in (status(allowed), allowed.cli("esa", "techsupport", "status", "--json").document):
        assert (document["mode"], document["tunnel"], document["port"]) == ("tunnel", "open", 2025)
        assert document["serial"] == allowed.serial("esa")
        assert re.fullmatch(r"[0-9a-f]{16}", document["seed_fingerprint"])
        assert document["until"] - document["since"] == pytest.approx(7 * 86400, abs=120)
        assert (document["sessions"], document["waiting"]) == ([], [])
        assert "seed" not in document
    shown = allowed.ssh("esa", "techsupport", "status").out
    assert "Service Access currently ENABLED (0 current service logins)" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_the_dialogue_gives_a_seed_that_support_can_use(lab: Lab) -> None:
    answers = ["techsupport", "disable", "y", "tunnel", "1", "2025", "none", "n", "y", "", "exit"]
    script = answers if status(lab)["mode"] != "disabled" else [answers[0], *answers[3:]]
    done = lab.ssh("esa", stdin="".join(f"{line}\n" for line in script))
    assert done.status == 0, done
    seed = SEED.search(done.out)
    assert seed is not None, done.out
    before = status(lab)["seed_fingerprint"]
    taken = desk(lab, "case", "seed", CASE, lab.serial("esa"), "--json", stdin=seed[0].lower().replace("0", "o") + "\n")
    assert taken.document["seed_fingerprint"] == before
    assert taken.document["checked"] is True
    eventually(lambda: lab.engineer("version").status == 0)
    log = (lab.dir / "esa" / "log" / "cli_logs" / "cli.current").read_text()
    assert seed[0] not in log + lab.log("esa")


def typed(process: subprocess.Popen[str], steps: Sequence[tuple[str, str]]) -> str:
    """Type an answer whenever the text before it has come; gives all that was shown."""
    assert process.stdin is not None
    assert process.stdout is not None
    shown = last = ""
    for awaited, answer in steps:
        while awaited not in last:
            byte = process.stdout.read(1)
            assert byte, f"{awaited!r} did not come; shown: {shown!r}"
            shown, last = shown + byte, last + byte
        last = ""
        process.stdin.write(answer + "\r")
        process.stdin.flush()
    return shown + process.communicate(timeout=60)[0]


def test_the_dialogue_on_a_terminal_asks_again_and_keeps_an_own_seed_to_itself(lab: Lab) -> None:
    lab.ssh("esa", "techsupport", "disable")
    facts = lab.facts
    argv = [*ssh_argv(facts["admin_key"], facts["known_hosts"], "2222"), "-tt", f"admin@{lab.net}.1.1", "techsupport"]
    steps = [
        ("[]>", "tunnel"),
        ("[1]>", "2"),
        ("[]>", "password1234"),
        ("[]>", "rusty anchors hum at dusk"),
        ("[2025]>", "99"),
        ("[2025]>", "2443"),
        ("[none]>", "the sma"),
        ("[none]>", f"{lab.net}.2.1"),
        ("[N]>", ""),
        ("[N]>", "y"),
        ("[]>", ""),
    ]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(argv, text=True, env={**os.environ, "TERM": "xterm"}, **pipes) as process:
        shown = typed(process, steps)
    for said in (
        "easily guessed",
        "is not an address",
        "Please answer with one of",
        "There is no login shell here",
        "\x1b[1mrusty anchors hum at dusk",
    ):
        assert said in shown, shown
    assert process.returncode == 0
    document = status(lab)
    assert (document["mode"], document["port"], document["hops"]) == ("tunnel", 2443, [f"{lab.net}.2.1"])
    for folder in ("log", "state"):
        for file in (lab.dir / "esa" / folder).rglob("*"):
            with suppress(FileNotFoundError):  # a draft that has taken its place meanwhile
                assert not (file.is_file() and b"rusty anchors" in file.read_bytes()), file


def test_a_mistyped_or_a_wrong_seed_is_told_and_nothing_is_burnt(allowed: Lab) -> None:
    other = gatepost("cli", "--config", str(allowed.config("sma")), "techsupport", "sshaccess", "--json").document[
        "seed"
    ]
    mistyped = other[:-1] + ("2" if other[-1] != "2" else "3")
    for seed, code, word in ((mistyped, 65, "checksum"), (other, 77, "does not fit"), ("", 64, "seed string")):
        done = desk(allowed, "case", "seed", CASE, allowed.serial("esa"), stdin=seed + "\n")
        assert (done.status, done.out, len(done.err.splitlines())) == (code, "", 1), done
        assert word in done.err
    assert allowed.engineer("version").status == 0
    assert desk(allowed, "case", "seed", CASE, allowed.serial("sma"), stdin=other + "\n").status == 0


def test_an_own_seed_is_taken_from_standard_input_and_a_weak_one_refused(lab: Lab) -> None:
    before = status(lab)["seed_fingerprint"]
    for weak in ("password1234", lab.serial("esa"), "short"):
        done = lab.cli("esa", "techsupport", "tunnel", "--seed-stdin", stdin=weak + "\n")
        assert (done.status, done.out, len(done.err.splitlines())) == (65, "", 1), done
    assert status(lab)["seed_fingerprint"] == before
    words = "seven green bottles on a wall"
    document = lab.cli("esa", "techsupport", "tunnel", "--port", "2025", "--seed-stdin", "--json", stdin=words).document
    assert document["seed"] == words
    assert desk(lab, "case", "seed", CASE, lab.serial("esa"), stdin=words.upper().lower() + "\n").status == 0
    eventually(lambda: lab.engineer("version").status == 0)


def test_a_session_waits_for_the_yes_of_the_administrator(lab: Lab) -> None:
    allow(lab, "--ask")
    with engineer_inside(lab, "version", "--json", terminal=False) as process:
        waiting = eventually(lambda: sessions(lab, "waiting"))
        assert (waiting[0]["engineer"], waiting[0]["case"]) == ("ana", CASE)
        assert "Waiting for your yes" in lab.ssh("esa", "techsupport", "status").out
        assert lab.ssh("esa", "techsupport", "approve", waiting[0]["id"]).status == 0
        out, _ = process.communicate(timeout=60)
        assert json.loads(out)["serial"] == lab.serial("esa")
    with engineer_inside(lab, "version", "--json", terminal=False) as process:
        waiting = eventually(lambda: sessions(lab, "waiting"))
        assert lab.ssh("esa", "techsupport", "refuse", waiting[0]["id"]).status == 0
        out, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "said no" in out
    gone = lab.ssh("esa", "techsupport", "approve", waiting[0]["id"])
    assert (gone.out, len(gone.err.splitlines())) == ("", 1)
    assert gone.status != 0


def test_the_administrator_watches_a_session_and_ends_it(allowed: Lab) -> None:
    with engineer_inside(allowed) as process:
        inside = eventually(lambda: sessions(allowed))
        assert (inside[0]["engineer"], inside[0]["case"]) == ("ana", CASE)
        argv = [*ssh_argv(allowed.facts["admin_key"], allowed.facts["known_hosts"], "2222")]
        argv += [f"admin@{allowed.net}.1.1", "techsupport", "watch", inside[0]["id"]]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watcher:
            assert process.stdin is not None
            process.stdin.write("version\r")
            process.stdin.flush()
            seen = ""
            assert watcher.stdout is not None
            while "esa.example.test" not in seen or "(SERVICE)" not in seen:
                line = watcher.stdout.readline()
                assert line, seen
                seen += line
            assert allowed.ssh("esa", "techsupport", "kill", inside[0]["id"]).status == 0
            assert process.wait(60) != 0
            assert "Session" in watcher.communicate(timeout=60)[0]
    eventually(lambda: not sessions(allowed))
    assert status(allowed)["mode"] == "tunnel"


def test_a_capture_is_fetched_and_every_recording_verifies(allowed: Lab, tmp_path: Path) -> None:
    content = bytes(range(256)) * 400
    (allowed.dir / "esa" / "captures" / "test.pcap").write_bytes(content)
    facts = allowed.facts
    host, _, port = facts["bastion"]["engineers"].rpartition(":")
    options = ssh_argv(facts["engineer"]["key"], facts["engineer"]["known_hosts"], port)[1:]
    options += ["-o", f"CertificateFile={facts['engineer']['certificate']}"]
    options = ["-P" if word == "-p" else word for word in options]
    where = f"{allowed.serial('esa').lower()}@{host}:captures/test.pcap"
    for flags, name in (([], "sftp"), (["-O"], "scp")):
        done = ran(["scp", *options, *flags, where, str(tmp_path / name)])
        assert done.status == 0, done
        assert (tmp_path / name).read_bytes() == content
    outside = where.replace("captures/test.pcap", "keys/host_ed25519")
    assert ran(["scp", *options, outside, str(tmp_path / "key")]).status != 0
    recordings = eventually(lambda: list((allowed.dir / "bastion" / "recordings").rglob("*.cast")))
    eventually(lambda: desk(allowed, "verify", *map(str, recordings)).status == 0, "all recordings verify")
    noted = "".join(
        file.read_text() for file in (allowed.dir / "bastion" / "recordings").rglob("*.*") if file.is_file()
    )
    assert hashlib.sha256(content).hexdigest() in noted
    listed = allowed.ssh("esa", "techsupport", "recordings", "--json").document["recordings"]
    assert {"ana"} == {one["engineer"] for one in listed}


def test_access_ends_by_both_paths_of_the_model(lab: Lab) -> None:
    for words in (("techsupport", "disable"), ("techsupport", "sshaccess", "disable")):
        allow(lab)
        assert lab.ssh("esa", *words, "--json").document["mode"] == "disabled"
        assert lab.engineer("version").status != 0
        assert "currently disabled" in lab.ssh("esa", "techsupport", "status").out


def test_a_probe_says_which_port_to_take_and_enables_nothing(lab: Lab) -> None:
    lab.ssh("esa", "techsupport", "disable")
    document = lab.ssh("esa", "techsupport", "probe", "--json").document
    good = {one["port"] for one in document["attempts"] if one["verdict"] == "ours"}
    assert good == {2025, 2022, 2053, 2080, 2443, 4766}
    shown = lab.cli("esa", "techsupport", "probe").out
    eventually(lambda: not any(row["online"] for row in lab.control("bastion", "bastion", "tunnels")["tunnels"]))
    assert "Port 2025 works: techsupport tunnel --port 2025" in shown
    assert (status(lab)["mode"], lab.engineer("version").status) == ("disabled", 69)
    assert status(lab)["last_probe"]["host"]


def test_only_administrators_let_support_in_and_nobody_by_the_command_line(allowed: Lab) -> None:
    for line in ("techsupport disable", "techsupport tunnel", "techsupport recordings"):
        assert allowed.engineer(line).status == 77
    done = allowed.cli("esa", "techsupport", "tunnel", "--seed", "x")
    assert (done.status, done.out) == (64, "")
