"""`gatepost serve`: a machine's daemons in one process tree; they come back, stop in order, and bad ones are left."""

import contextlib
import os
import re
import signal
import smtplib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.lab.document import appliance_table
from tests.support.lab import GATEPOST, alive, ask_socket, gatepost, short_folder
from tests.support.need import as_root, needs
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
DAEMONS = {"gateway-0", "gateway-1", "cpq-listener", "delivery-queue", "tunnel-client", "console", "web"}


class Served:
    """A mail gateway, and the process that keeps it."""

    def __init__(self, folder: Path) -> None:
        self.dir = folder / "m"
        self.config = self.dir / "gatepost.toml"
        self.log = folder / "serve.log"
        self.smtp, self.console, web, cpq = (free_port() for _ in range(4))
        made = gatepost("init", "--role", "esa", "--dir", str(self.dir), "--hostname", "esa.example.test")
        assert made.status == 0, made
        self.write(
            appliance_table(self.config.read_text())
            + "[runtime]\ngateways = 2\ngrace_s = 20\n"
            + f"[console]\nport = {self.console}\n[web]\nport = {web}\n[health]\nport = {free_port()}\n"
            + f'[cpq]\naddress = "127.0.0.1"\nport = {cpq}\n'
            + f'[[listener]]\nname = "In"\nkind = "public"\naddress = "127.0.0.1"\nport = {self.smtp}\n'
            + 'rat = ["example.test"]\n[listener.policy]\nmax_messages_per_session = 0\n'
            + '[[route]]\ndomain = "ALL"\nhosts = ["127.0.0.1:1"]\n'
        )

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def start(self, *before: str) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [*before, *GATEPOST, "serve", "--config", str(self.config)], stdout=log, stderr=log, cwd=os.getcwd()
            )

    def said(self) -> str:
        return self.log.read_text()

    def ready(self) -> None:
        eventually(lambda: "\nserve: ready\n" in self.said(), "all are ready", within_s=60)

    def daemons(self) -> dict[str, dict[str, Any]]:
        rows = ask_socket(self.dir / "run" / "serve.sock", "status")["daemons"]
        return {row["daemon"]: row for row in rows}


@pytest.fixture
def served() -> Iterator[Served]:
    with short_folder() as folder:
        yield Served(folder)


@contextlib.contextmanager
def running(served: Served, *before: str) -> Iterator[subprocess.Popen[bytes]]:
    process = served.start(*before)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def test_children_come_back_are_halted_and_stop_in_order_under_load(served: Served) -> None:
    with running(served) as process:
        served.ready()
        assert set(served.daemons()) == DAEMONS
        first = served.daemons()["cpq-listener"]["pid"]
        os.kill(first, signal.SIGKILL)
        eventually(
            lambda: served.daemons()["cpq-listener"]["state"] == "ready" and served.said().count("SIGKILL"), within_s=60
        )
        after = served.daemons()
        assert after["cpq-listener"]["pid"] != first
        assert {name: row["starts"] for name, row in after.items() if row["starts"] > 1} == {"cpq-listener": 2}

        control = served.dir / "run" / "serve.sock"
        ask_socket(control, "halt", daemons=["web"])
        eventually(lambda: served.daemons()["web"]["state"] == "halted", within_s=60)
        ask_socket(control, "resume", daemons=["web"])
        eventually(lambda: served.daemons()["web"]["state"] == "ready", within_s=60)
        after = served.daemons()
        assert after["console"]["starts"] == 1

        accepted: list[int] = []
        sender = threading.Thread(target=_send_until_refused, args=(served.smtp, accepted))
        sender.start()
        eventually(lambda: len(accepted) > 50)
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
        sender.join(30)
        assert not any(alive(row["pid"]) for row in after.values())
        ends = [line for line in _system_log(served).splitlines() if "ended, status" in line]
        assert len(ends) == len(DAEMONS) + 1, "web ended twice"
        assert "delivery-queue: ended, status 0" in ends[-1], "who takes mail in is gone before the queue stops"

    with running(served):
        served.ready()
        queue = served.dir / "run" / "delivery-queue.sock"
        eventually(lambda: len(ask_socket(queue, "showrecipients", limit=5000)["recipients"]) == len(accepted))


def _send_until_refused(port: int, accepted: list[int]) -> None:
    with contextlib.suppress(smtplib.SMTPException, OSError), smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        while True:
            client.sendmail("a@sender.test", ["b@example.test"], b"Subject: x\r\n\r\nbody\r\n")
            accepted.append(1)


def _system_log(served: Served) -> str:
    return "".join(file.read_text() for file in sorted((served.dir / "log").rglob("system*current")))


def test_standard_error_that_nobody_read_had_serve_itself_stand_still(served: Served) -> None:
    """It said each refusal of a reload straight to the pipe, and then took no signal any more."""
    served.write(served.config.read_text().replace("gateways = 2", "gateways = 1"))
    unread, full = os.pipe()
    os.set_blocking(full, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, b"x" * 4096)
    os.set_blocking(full, True)
    process = subprocess.Popen([*GATEPOST, "serve", "--config", str(served.config)], stderr=full)
    try:
        control = served.dir / "run" / "serve.sock"
        eventually(
            lambda: control.exists() and {row["state"] for row in served.daemons().values()} == {"ready"}, within_s=60
        )
        served.write("nonsense")
        process.send_signal(signal.SIGHUP)
        assert set(served.daemons()) == DAEMONS - {"gateway-1"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0
    finally:
        process.kill()
        process.wait(30)
        os.close(unread)
        os.close(full)


def test_a_configuration_that_cannot_be_used_ends_it_with_every_fault_once(served: Served) -> None:
    served.write(served.config.read_text().replace("[console]", "[console]\nnonsense = 1\nidle_s = 1"))
    with running(served) as process:
        assert process.wait(30) == 78
    said = served.said()
    assert said.count("console.nonsense") == 1
    assert said.count("console.idle_s") == 1


def test_a_daemon_that_refuses_is_left_alone_until_sighup(served: Served) -> None:
    (served.dir / "keys" / "tls.crt").rename(served.dir / "keys" / "away")
    with running(served) as process:
        eventually(lambda: "console: ready" in served.said(), within_s=60)
        refused = eventually(
            lambda: [row for row in served.daemons().values() if row["state"] == "refused"], within_s=60
        )
        names = {row["daemon"] for row in refused}
        eventually(lambda: "left alone until this process gets SIGHUP" in served.said(), served.said)
        eventually(lambda: served.daemons()["console"]["state"] == "ready", within_s=60)
        (served.dir / "keys" / "away").rename(served.dir / "keys" / "tls.crt")
        process.send_signal(signal.SIGHUP)
        served.ready()
        assert all(served.daemons()[name]["state"] == "ready" for name in names)


@needs("unshare")
@as_root("process namespaces")
def test_process_one_did_not_hear_sigterm_before_its_loop_ran() -> None:
    """The kernel drops what process 1 does not handle. This command waits for input, with no loop to hear signals."""
    start = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *GATEPOST, "password"]
    with subprocess.Popen(start, stdin=subprocess.PIPE) as process:
        try:
            inside = eventually(lambda: Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
            status = Path(f"/proc/{int(inside)}/status")
            handled = re.compile(r"^SigCgt:\s(\w+)", re.MULTILINE)
            bit = 1 << (signal.SIGTERM - 1)
            eventually(lambda: bit & int(handled.findall(status.read_text())[0], 16))
            os.kill(int(inside), signal.SIGTERM)
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.kill()


@needs("unshare", "nsenter", "setpriv")
@as_root("process namespaces")
def test_as_process_one_it_takes_in_strays(served: Served) -> None:
    with running(served, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child") as process:
        served.ready()
        inside = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        enter = ["nsenter", "--target", str(inside), "--pid", "--mount"]
        subprocess.run([*enter, "sh", "-c", "for n in 1 2 3; do sleep 0.1 & done"], check=True, timeout=20)
        zombies = ["ps", "--no-headers", "-o", "stat=,comm=", "--ppid", "1"]

        def left() -> list[str]:
            lines = subprocess.run([*enter, *zombies], capture_output=True, text=True, check=False).stdout.splitlines()
            return [line for line in lines if "sleep" in line]

        eventually(lambda: not left())
        os.kill(inside, signal.SIGTERM)
        assert process.wait(90) == 0
