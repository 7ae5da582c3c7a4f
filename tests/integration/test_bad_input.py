"""What operators and disks do wrong: broken configurations and filters are said whole, a full disk loses nothing."""

import os
import re
import signal
import smtplib
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.lab import GATEPOST, Lab, ask_socket, gatepost, is_ready, ran, short_folder
from tests.support.need import as_root, not_allowed
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
DAEMONS = (
    "gateway",
    "cpq-listener",
    "delivery-queue",
    "release-host",
    "tunnel-client",
    "bastion",
    "keyd",
    "console",
    "web",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def made(folder: Path, text: str = "") -> Path:
    """Make a gateway with one listener and give its configuration."""
    done = gatepost("init", "--role", "esa", "--dir", str(folder / "esa"), "--hostname", "esa.example.test")
    assert done.status == 0, done
    config = folder / "esa" / "gatepost.toml"
    listener = f'\n[[listener]]\nname = "InboundMail"\nport = {free_port()}\nrat = ["example.test"]\n'
    config.write_text(config.read_text() + listener + text)
    return config


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


NOTED = {f"esa/state/format.json{end}" for end in ("", ".copy", ".lock")}
"""Written before a daemon opens anything: which release used the machine last."""

BROKEN = """
[delivery]
max_connections = 0

[[destination]]
domain = "example.org"
tls = "sometimes"

[[user]]
name = "admin"
role = "king"
keys = ["ssh-ed25519 rubbish"]

[bastion]
address = "127.0.0.1"
"""


def test_a_broken_configuration_is_said_whole_and_nothing_is_started_or_made(folder: Path) -> None:
    config = made(folder)
    text = re.sub(r"^\[delivery\]\n", "[other]\n", config.read_text(), count=1, flags=re.MULTILINE)
    text = text.replace('name = "InboundMail"', 'name = "InboundMail"\nkind = "secret"\ncolour = "red"')
    config.write_text(text + BROKEN)
    before = tree(folder)
    expected = {
        "listener[1].kind": "public",
        "listener[1].colour": "unknown key",
        "delivery.max_connections": "greater than or equal to 1",
        "destination[1].tls": "'sometimes'",
        "user[1].role": "'king'",
        "user[1].keys[1]": "key",
        "bastion": "unknown key",
        "other": "unknown key",
    }
    for words in (["check"], *(["run", daemon] for daemon in ("gateway", "cpq-listener", "console"))):
        done = gatepost(*words, "--config", str(config))
        assert (done.status, done.out) == (78, ""), done
        lines = done.err.splitlines()
        assert all(line.startswith(f"gatepost: {config}: ") for line in lines), done.err
        found = dict(line.removeprefix(f"gatepost: {config}: ").split(": ", 1) for line in lines)
        assert found.keys() == expected.keys(), done.err
        for key, words_of_it in expected.items():
            assert words_of_it in found[key], (key, found[key])
    assert tree(folder) == before


def test_a_file_that_is_no_toml_is_said_with_line_and_column(folder: Path) -> None:
    config = made(folder)
    config.write_text("[appliance]\nrole = esa\n")
    done = gatepost("run", "gateway", "--config", str(config))
    assert (done.status, len(done.err.splitlines())) == (78, 1)
    assert "line 2, column 8" in done.err


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_missing_configuration_is_one_line(tmp_path: Path, daemon: str) -> None:
    missing = tmp_path / "no" / "gatepost.toml"
    done = gatepost("run", daemon, "--config", str(missing))
    assert done.status == 78
    assert (done.out, len(done.err.splitlines())) == ("", 1), done
    assert done.err.startswith(f"gatepost: {missing}: there is no configuration; `gatepost init --role ")
    assert "`gatepost systemd install`" in done.err
    assert not (tmp_path / "no").exists()


def test_a_daemon_of_another_role_is_refused_in_one_line(folder: Path) -> None:
    config = made(folder)
    before = tree(folder)
    for daemon in ("release-host", "bastion", "keyd"):
        done = gatepost("run", daemon, "--config", str(config))
        assert done.status in (64, 78), done
        assert len(done.err.splitlines()) == 1, done
        assert "esa" in done.err
        assert daemon in done.err
    assert tree(folder) == before


FILTERS = """\
good: if (subject == "x") { drop(); }
broken: if (subject == ) { drop(); }
also: if (subjekt == "x") { drop(); }
"""


def test_a_filter_with_a_fault_is_said_with_line_column_and_what_was_expected(folder: Path) -> None:
    config = made(folder, '\n[filters]\nfile = "filters.txt"\n')
    text = re.sub(r"^\[filters\]\n(#.*\n)*", "", config.read_text(), count=1, flags=re.MULTILINE)
    config.write_text(text)
    file = config.parent / "filters.txt"
    file.write_text(FILTERS.splitlines(keepends=True)[0] + FILTERS.splitlines(keepends=True)[1])
    before = tree(folder)
    for words in (["check"], ["run", "gateway"], ["run", "cpq-listener"]):
        done = gatepost(*words, "--config", str(config))
        assert done.status == 78, done
        assert len(done.err.splitlines()) == 1, done
        assert f"{file}: line 2, column 24: " in done.err
        assert "expected" in done.err
    assert tree(folder) - NOTED == before


@pytest.fixture
def lab(standing_lab: Lab) -> Lab:
    return standing_lab


def delivered(lab: Lab, subject: str) -> bool:
    """Send a message and tell whether it arrives; a second one behind it shows that it would have by now."""
    to, behind = lab.address(), lab.address()
    lab.send([to], f"Subject: {subject}\r\n\r\nx\r\n".encode())
    if eventually(lambda: lab.arrivals(to) or (lab.held(recipient=to) and ["held"])) == ["held"]:
        return False
    lab.send([behind], b"Subject: behind\r\n\r\nx\r\n")
    lab.wait_delivered(behind)
    return bool(lab.arrivals(to))


def reload_by_signal(lab: Lab) -> None:
    for name in ("esa/gateway", "esa/cpq-listener"):
        os.kill(lab.facts["pids"][name][0], signal.SIGHUP)


def test_filters_are_reloaded_by_a_signal_and_broken_ones_leave_the_running_ones(lab: Lab) -> None:
    file = lab.dir / "esa" / "filters.txt"
    original = file.read_text()
    pids = lab.facts["pids"]
    assert delivered(lab, "[newly] held")
    try:
        log_from = lab.log_size("esa")
        file.write_text(original + 'new: if (subject == "\\\\[newly\\\\]") { quarantine("Policy"); }\n')
        reload_by_signal(lab)
        eventually(lambda: lab.log("esa", log_from).count("Message filters reloaded: 5 in force") == 2)
        assert not delivered(lab, "[newly] held")

        log_from = lab.log_size("esa")
        file.write_text("broken: if (subject == ) { drop(); }\n" + original)
        reload_by_signal(lab)
        refused = r"Warning: [a-z0-9-]+: Configuration not reloaded: .*"
        eventually(lambda: len(re.findall(refused, lab.log("esa", log_from))) == 2, "both daemons refuse the file")
        lines = re.findall(refused, lab.log("esa", log_from))
        assert f"{file}: line 1, column 24: " in lines[0]
        assert "expected" in lines[0]
        # What ran before runs still: the old ones and the new one.
        assert not delivered(lab, "[newly] held")
        assert not delivered(lab, "[hold] held")
        assert delivered(lab, "plain")
        # The verb says the same to who asks.
        with pytest.raises(AssertionError, match="line 1, column 24"):
            lab.control("esa", "gateway-0", "reload_filters")
    finally:
        log_from = lab.log_size("esa")
        file.write_text(original)
        reload_by_signal(lab)
        eventually(lambda: lab.log("esa", log_from).count("Message filters reloaded: 4 in force") >= 2)
    assert lab.control("esa", "gateway-0", "reload_filters") == {"filters": 4}
    assert delivered(lab, "[newly] held")
    assert lab.facts["pids"] == pids
    assert lab.control("esa", "gateway-0", "health")["pid"] == pids["esa/gateway"][0]


@contextmanager
def small_disk(place: Path, mib: int) -> Iterator[None]:
    """Put a file system of a few mebibytes at a place, or skip."""
    place.mkdir(parents=True, exist_ok=True)
    done = ran(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "gatepost-test", str(place)])
    if done.status:
        not_allowed(f"a small file system cannot be mounted here: {done.err.strip()}")
    try:
        yield
    finally:
        assert ran(["umount", "-l", str(place)]).status == 0


@contextmanager
def daemon(config: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*GATEPOST, "run", name, "--config", str(config)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        path = config.parent / "run" / f"{'gateway-0' if name == 'gateway' else name}.sock"
        eventually(lambda: is_ready(path), f"{name} is ready")
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@as_root("mounting a small file system")
def test_a_full_disk_is_answered_451_and_loses_nothing_and_recovers(folder: Path) -> None:
    port = free_port()
    config = made(folder)
    text = re.sub(r"^port = \d+\nrat", f"port = {port}\nrat", config.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^#segment_size = .*$", 'segment_size = "1M"', text, flags=re.MULTILINE)
    policy = "\n[listener.policy]\nmax_messages_per_session = 0\nmax_connections_per_address = 0\n"
    nowhere = f'\n[[route]]\ndomain = "ALL"\nhosts = ["127.0.0.1:{free_port()}"]\n'
    config.write_text(text + policy + nowhere)
    filler = config.parent / "spool" / "filler"
    content = b"Subject: n\r\n\r\n" + b"0123456789abcde\r\n" * 3000

    def send(number: int) -> int:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=30) as client:
            client.ehlo()
            for command in (f"MAIL FROM:<s{number}@sender.test>", f"RCPT TO:<r{number}@example.test>"):
                code, _ = client.docmd(command)
                if code >= 400:
                    return code
            try:
                return client.data(content)[0]
            except smtplib.SMTPDataError as refusal:  # refused before the content
                return refusal.smtp_code

    with small_disk(config.parent / "spool", 24):
        with daemon(config, "gateway"):
            codes = {0: send(0)}
            assert codes[0] == 250
            room = os.statvfs(filler.parent)
            filler.write_bytes(b"x" * (room.f_bavail * room.f_frsize - (64 << 10)))
            for number in range(1, 80):
                codes[number] = send(number)
            refused = {code for code in codes.values() if code != 250}
            assert refused, "the disk was never full"
            assert refused <= {451, 452}
            filler.unlink()
            codes[80] = eventually(lambda: (code := send(80)) == 250 and code, "mail is taken again")
        # Nothing acknowledged is lost: the queue has it, and only it.
        with daemon(config, "delivery-queue"):
            path = config.parent / "run" / "delivery-queue.sock"
            taken = {f"r{number}@example.test" for number, code in codes.items() if code == 250}

            def waiting() -> list[str]:
                rows = ask_socket(path, "showrecipients", limit=1000)["recipients"]
                return sorted(row["recipient"] for row in rows)

            eventually(lambda: waiting() == sorted(taken), f"{len(taken)} taken")


def test_a_folder_that_cannot_be_written_is_said_by_init(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = gatepost("init", "--role", "esa", "--dir", str(tmp_path / "file" / "esa"))
    assert (done.status, len(done.err.splitlines())) == (73, 1), done


def test_a_machine_is_never_made_over_another(folder: Path) -> None:
    config = made(folder)
    before = config.read_text()
    done = gatepost("init", "--role", "sma", "--dir", str(config.parent))
    assert (done.status, len(done.err.splitlines())) == (73, 1)
    assert config.read_text() == before


RUBBISH: list[tuple[list[str], int]] = [
    ([], 64),
    (["frobnicate"], 64),
    (["run", "postfix", "--config", "x"], 64),
    (["init", "--role", "king", "--dir", "x"], 64),
    (["lab", "sideways"], 64),
]


@pytest.mark.parametrize(("words", "status"), RUBBISH, ids=[" ".join(words) or "nothing" for words, _ in RUBBISH])
def test_wrong_usage_is_one_line_and_64(words: list[str], status: int) -> None:
    done = gatepost(*words)
    assert (done.status, done.out, len(done.err.splitlines())) == (status, "", 1), done


def test_octets_that_are_no_smtp_take_nobody_down(lab: Lab) -> None:
    check: Callable[[], object] = lambda: lab.control("esa", "gateway-0", "health")["pid"]  # noqa: E731
    before = check()
    for octets in (b"\0" * 5000, b"\xff\xfe" * 600 + b"\r\n", b"EHLO " + b"a" * 100_000, b"\r\n" * 2000):
        host, _, port = lab.place("esa", "smtp").rpartition(":")
        with socket.create_connection((host, int(port)), 30) as sock:
            with suppress(ConnectionError):  # the gateway may have had enough before all of it was sent
                sock.sendall(octets)
            with suppress(OSError):  # not connected any more
                sock.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                while sock.recv(65536):
                    pass
    assert check() == before
    assert delivered(lab, "still here")
