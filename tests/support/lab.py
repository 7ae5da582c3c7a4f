"""A lab of real daemons for the system tests: brought up and taken down with the executable, spoken to from outside.

What is asked of it goes over stock clients wherever there is one: `ssh`, smtplib, sockets. Control sockets are
spoken to with a few lines of our own here, so that nothing under test checks itself.
"""

import json
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import forked
from tests.support.waiting import eventually

EX_UNAVAILABLE = 69
GATEPOST = (sys.executable, "-m", "daemons.gatepost")


class Ran(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document of a command that must have succeeded."""
        assert (self.status, self.err) == (0, ""), self
        return json.loads(self.out)


def ran(argv: Sequence[str], *, stdin: str = "", within_s: float = 60, **more: Any) -> Ran:
    """Run a command to its end."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=within_s, check=False, **more)
    return Ran(done.returncode, done.stdout, done.stderr)


def gatepost(*words: str, stdin: str = "", within_s: float = 90, **more: Any) -> Ran:
    """Run a command; in a fork of a process that has imported it, unless something is special about it."""
    typed = stdin.encode()
    if more or len(typed) > forked.MOST_TYPED or forked.environment() != forked.forks().environment:
        return ran([*GATEPOST, *words], stdin=stdin, within_s=within_s, **more)
    return Ran(*forked.forks().run(words, typed, within_s))


def refused(address: str) -> bool:
    """Tell whether nobody listens there."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(30)
        try:
            probe.connect((host, int(port)))
        except ConnectionRefusedError:
            return True
    return False


def ask_socket(path: Path, do: str, /, **args: Any) -> Any:
    """Ask the daemon behind a control socket; an error it answers with is an AssertionError."""
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rwb") as stream:
        sock.settimeout(60)
        sock.connect(str(path))
        stream.write(json.dumps({"v": 1, "do": do, "args": args}).encode() + b"\n")
        stream.flush()
        answer = json.loads(stream.readline())
    assert "ok" in answer, answer
    return answer["ok"]


def is_ready(control: Path) -> bool:
    """Tell whether the daemon behind a control socket is ready; one that starts may not have it, or not answer."""
    try:
        return bool(ask_socket(control, "health")["state"] == "ready")
    except (OSError, ValueError, AssertionError):
        return False


def whole_lines(log: Path) -> list[str]:
    """Give the lines of a log; what comes after the last line's end is half written."""
    return log.read_text().rpartition("\n")[0].splitlines()


def alive(pid: int) -> bool:
    """Tell whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Arrival(NamedTuple):
    """One transaction that the outside mail host stored."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class Lab:
    """A lab that is up."""

    def __init__(self, folder: Path, net: str) -> None:
        self.dir = folder
        self.net = net
        self._number = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What lab.json says now."""
        facts: dict[str, Any] = json.loads((self.dir / "lab.json").read_text())
        return facts

    def serial(self, role: str) -> str:
        """Serial number of an appliance."""
        return str(self.facts[role]["serial"])

    def place(self, role: str, what: str) -> str:
        """Give the `host:port` of something."""
        return str(self.facts[role][what])

    def config(self, role: str) -> Path:
        """Configuration of a machine."""
        return self.dir / role / "gatepost.toml"

    # -- processes ---------------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """`gatepost lab kill`."""
        assert gatepost("lab", "kill", name, "--dir", str(self.dir)).status == 0

    def start(self, name: str) -> None:
        """`gatepost lab start`."""
        started = gatepost("lab", "start", name, "--dir", str(self.dir))
        assert started.status == 0, started

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal one daemon and wait until it is gone."""
        for pid in self.facts["pids"][name]:
            os.kill(pid, number)
            eventually(lambda pid=pid: not alive(pid), f"{name} ends")  # type: ignore[misc]

    @contextmanager
    def without(self, *names: str) -> Iterator[None]:
        """Stop daemons with SIGTERM for a while."""
        for name in names:
            self.signal(name, signal.SIGTERM)
        try:
            yield
        finally:
            for name in names:
                self.start(name)

    # -- mail --------------------------------------------------------------------------------------------------

    def address(self, word: str = "m") -> str:
        """Make an address that no other test uses."""
        self._number += 1
        return f"{word}{self._number}@example.test"

    def send(self, recipients: Sequence[str], content: bytes, sender: str = "outside@sender.test") -> None:
        """Send one message from outside; every octet of `content`, which ends a line."""
        self.send_all([(recipients, content)], sender)

    def send_all(self, letters: Sequence[tuple[Sequence[str], bytes]], sender: str = "outside@sender.test") -> None:
        """Send messages over one connection."""
        host, _, port = self.place("esa", "smtp").rpartition(":")
        with smtplib.SMTP(host, int(port), local_hostname="client.sender.test", timeout=60) as client:
            for recipients, content in letters:
                assert client.sendmail(sender, recipients, content) == {}

    def arrivals(self, recipient: str) -> list[Arrival]:
        """Give what the outside mail host stored for a recipient."""
        found = []
        for file in sorted(Path(self.facts["mailhost"]["maildir"], "new").iterdir()):
            sender, recipients, content = file.read_bytes().split(b"\r\n", 2)
            names = tuple(one.strip() for one in recipients.decode().removeprefix("X-RcptTo:").split(","))
            if recipient in names:
                found.append(Arrival(sender.decode().removeprefix("X-MailFrom:").strip(), names, content))
        return found

    def counted(self) -> dict[str, int]:
        """Count the copies of every recipient at the outside mail host."""
        copies: dict[str, int] = {}
        for file in Path(self.facts["mailhost"]["maildir"], "new").iterdir():
            line = file.read_bytes().split(b"\r\n", 2)[1].decode().removeprefix("X-RcptTo:")
            for name in line.split(","):
                copies[name.strip()] = copies.get(name.strip(), 0) + 1
        return copies

    def held(self, **search: Any) -> list[dict[str, Any]]:
        """Give the messages in the central quarantine, all pages."""
        rows: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.control("sma", "release-host", "quarantine_list", limit=500, after=after, **search)
            rows += page["messages"]
            if page["next"] is None:
                return rows
            after = page["next"]

    def hold(self, *, count: int = 1, within_s: float = 60) -> list[dict[str, Any]]:
        """Send messages that are held, wait until they are, and give their rows with `content` put in."""
        letters = {}
        for _ in range(count):
            to = self.address("held")
            letters[to] = f"Subject: [hold] {to}\r\n\r\n.dot\r\nbody of {to}\r\n".encode()
        self.send_all([([to], content) for to, content in letters.items()])
        rows = [self.wait_held(to, within_s) for to in letters]
        return [{**row, "content": letters[row["recipients"][0]]} for row in rows]

    def wait_held(self, recipient: str, within_s: float = 60) -> dict[str, Any]:
        """Wait until a recipient's one message is held."""
        return eventually(lambda: self.held(recipient=recipient), f"{recipient} is held", within_s=within_s)[0]

    def wait_delivered(self, recipient: str, within_s: float = 60) -> Arrival:
        """Wait until a recipient has its one copy."""
        return eventually(lambda: self.arrivals(recipient), f"{recipient} has its copy", within_s=within_s)[0]

    # -- what the machines say ---------------------------------------------------------------------------------

    def control(self, role: str, daemon: str, verb: str, **args: Any) -> Any:
        """Ask a daemon over its control socket."""
        return ask_socket(self.dir / role / "run" / f"{daemon}.sock", verb, **args)

    def host(self, role: str, name: str) -> dict[str, Any]:
        """Give a destination's row in `tophosts`."""
        rows = self.control(role, "delivery-queue", "tophosts")["hosts"]
        return next((row for row in rows if row["host"] == name), {"host": name, "active_recipients": 0})

    def log(self, role: str, after: int = 0) -> str:
        """Give the whole lines of a machine's mail log, from an offset on; the last may be half written."""
        return self._lines(role)[after:].decode()

    def log_size(self, role: str) -> int:
        """Give the length of the mail log so far, which ends a line."""
        return len(self._lines(role))

    def _lines(self, role: str) -> bytes:
        return b"".join((self.dir / role / "log" / "mail_logs" / "mail.current").read_bytes().rpartition(b"\n")[:2])

    def wait_settled(self, role: str) -> None:
        """Wait until the queue of a machine has nothing under way, and has counted what went."""
        eventually(
            lambda: (
                not any(one["active_recipients"] for one in self.control(role, "delivery-queue", "tophosts")["hosts"])
            ),
            f"the queue of the {role} is empty",
        )

    # -- operators ---------------------------------------------------------------------------------------------

    def ssh(
        self, role: str, *words: str, user: str = "admin", key: str = "", flags: Sequence[str] = (), stdin: str = ""
    ) -> Ran:
        """Run a console command with stock OpenSSH, as the administrator."""
        facts = self.facts
        host, _, port = facts[role]["ssh"].rpartition(":")
        return ran(
            [*ssh_argv(key or facts["admin_key"], facts["known_hosts"], port), *flags, f"{user}@{host}", *words],
            stdin=stdin,
        )

    def cli(self, role: str, *words: str, stdin: str = "") -> Ran:
        """Run a console command on the machine itself."""
        return gatepost("cli", "--config", str(self.config(role)), *words, stdin=stdin)

    def engineer(
        self, *words: str, role: str = "esa", flags: Sequence[str] = (), certificate: str = "", stdin: str = ""
    ) -> Ran:
        """Reach an appliance with stock OpenSSH through the bastion, as the support engineer."""
        facts = self.facts
        host, _, port = facts["bastion"]["engineers"].rpartition(":")
        one = facts["engineer"]
        argv = ssh_argv(one["key"], one["known_hosts"], port)
        argv += ["-o", f"CertificateFile={certificate or one['certificate']}", *flags]
        return ran([*argv, f"{self.serial(role).lower()}@{host}", *words], stdin=stdin)


def ssh_argv(key: str, known_hosts: str, port: str) -> list[str]:
    """Give the command line of stock OpenSSH that uses our files only."""
    options = {
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "BatchMode": "yes",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "LogLevel": "ERROR",
        "ConnectTimeout": "10",
    }
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-p", port, "-i", key, *given]


@contextmanager
def short_folder() -> Iterator[Path]:
    """Give a folder whose sockets fit the 107 bytes of a unix socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="gp-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_GUARD = """
import subprocess, sys, time
sys.stdin.read()  # ends when the tests do, however they end
folder, *gatepost = sys.argv[1:]
for _ in range(60):
    if subprocess.run([*gatepost, "lab", "down", "--dir", folder + "/lab"], capture_output=True).returncode != 66:
        break
    time.sleep(1)  # it was still coming up
subprocess.run(["rm", "-rf", folder])
"""


@contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Have a lab taken down by another process should this one be killed."""
    argv = [sys.executable, "-c", _GUARD, str(folder), *GATEPOST]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True, **quiet) as guard:
        try:
            yield
        finally:
            guard.kill()


def sleeping(word: str) -> int:
    """Count the programs `sleep WORD` that run anywhere on this machine."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # one that has ended meanwhile
            found += path.read_bytes().split(b"\0")[:2] == [b"sleep", word.encode()]
    return found


def _is_ours(net: str, taken: ExitStack) -> bool:
    """Take a network from other test workers: while their lab comes up, not all of its ports are in use."""
    name = taken.enter_context(socket.socket(socket.AF_UNIX))
    try:
        name.bind(f"\0gatepost-test-net-{net}")
    except OSError:
        return False
    return True


@contextmanager
def running_lab(*nets: str) -> Iterator[Lab]:
    """Bring a lab up on the first of the networks that is free, and down again whatever happens."""
    with short_folder() as folder, guarded(folder), ExitStack() as taken:
        up = Ran(EX_UNAVAILABLE, "", f"other tests have a lab on each of {nets}")
        for net in nets:
            if not _is_ours(net, taken):
                continue
            lab = Lab(folder / "lab", net)
            up = gatepost("lab", "up", "--dir", str(lab.dir), "--net", net, within_s=150)
            if up.status != EX_UNAVAILABLE:
                break
        assert up.status == 0, up
        try:
            yield lab
        finally:
            pids = [pid for several in lab.facts["pids"].values() for pid in several]
            down = gatepost("lab", "down", "--dir", str(lab.dir))
            left = [pid for pid in pids if alive(pid)]
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        assert (down.status, left) == (0, []), down
