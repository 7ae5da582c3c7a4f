"""Every daemon by itself, on a machine that `gatepost init` has just made: ready, healthy, alone, gone when told."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.lab import GATEPOST, ask_socket, gatepost, is_ready, short_folder
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
ROLES = {
    "esa": ("gateway", "cpq-listener", "delivery-queue", "tunnel-client", "console", "web"),
    "sma": ("cpq-listener", "delivery-queue", "release-host", "tunnel-client", "console", "web"),
    "bastion": ("bastion", "keyd", "console", "web"),
}
CASES = [(role, daemon) for role, daemons in ROLES.items() for daemon in daemons]


class Machine(NamedTuple):
    """A machine and the ports that its daemons listen on."""

    dir: Path
    config: Path
    ports: dict[str, list[int]]

    def socket(self, daemon: str) -> Path:
        return self.dir / "run" / f"{'gateway-0' if daemon == 'gateway' else daemon}.sock"


def moved(text: str, section: str, key: str, value: str) -> str:
    """Set a key of the commented configuration as an operator does: by editing its line."""
    head, mark, rest = text.partition(f"\n[{section}]\n")
    assert mark, section
    pattern = re.compile(rf"^#?{key} = .*$", re.MULTILINE)
    assert pattern.search(rest), (section, key)
    return head + mark + pattern.sub(f"{key} = {value}", rest, count=1)


def make(role: str, folder: Path) -> Machine:
    made = gatepost("init", "--role", role, "--dir", str(folder), "--hostname", f"{role}.example.test")
    assert made.status == 0, made
    config = folder / "gatepost.toml"
    text = config.read_text()
    ports = {"console": [free_port()], "web": [free_port()]}
    text = moved(text, "console", "port", str(ports["console"][0]))
    text = moved(text, "web", "port", str(ports["web"][0]))
    ports["web"].append(free_port())
    text = moved(text, "health", "port", str(ports["web"][1]))
    if role == "bastion":
        ports["bastion"] = [free_port(), free_port(), free_port()]
        text = moved(text, "bastion", "address", '"127.0.0.1"')
        text = moved(text, "bastion", "ports", str(ports["bastion"][:2]))
        text = moved(text, "bastion", "engineer_address", '"127.0.0.1"')
        text = moved(text, "bastion", "engineer_port", str(ports["bastion"][2]))
    else:
        ports["cpq-listener"] = [free_port()]
        text = moved(text, "cpq", "address", '"127.0.0.1"')
        text = moved(text, "cpq", "port", str(ports["cpq-listener"][0]))
    if role == "esa":
        ports["gateway"] = [free_port()]
        text += f'\n[[listener]]\nname = "InboundMail"\nport = {ports["gateway"][0]}\nrat = ["example.test"]\n'
    config.write_text(text)
    checked = gatepost("check", "--config", str(config))
    assert (checked.status, checked.err) == (0, ""), checked
    return Machine(folder, config, ports)


@pytest.fixture(scope="module")
def machine() -> Iterator[Callable[[str], Machine]]:
    with short_folder() as folder:
        made: dict[str, Machine] = {}

        def give(role: str) -> Machine:
            if role not in made:
                made[role] = make(role, folder / role)
            return made[role]

        yield give


class Started(NamedTuple):
    """A daemon that runs, and the socket on which it tells the service manager how it is."""

    process: subprocess.Popen[str]
    notices: socket.socket

    def notice(self, text: str, within_s: float = 60) -> None:
        """Wait for one notification; others may come before it."""
        self.notices.settimeout(within_s)
        seen = []
        while text not in (got := self.notices.recv(4096).decode()):
            seen.append(got)
            assert len(seen) < 100, seen


@contextmanager
def started(
    machine: Machine, daemon: str, *, through: Sequence[str] = (), descriptors: Sequence[int] = (), **environment: str
) -> Iterator[Started]:
    """Run a daemon, `through` another program if that is named, with `descriptors` that it inherits."""
    where = machine.dir / "notify"
    where.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(where))
        process = subprocess.Popen(
            [*through, *GATEPOST, "run", daemon, "--config", str(machine.config)],
            pass_fds=descriptors,
            env={**os.environ, "NOTIFY_SOCKET": str(where), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Started(process, notices)
        finally:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("role", "daemon"), CASES)
def test_a_daemon_is_ready_healthy_alone_and_ends_when_told(
    machine: Callable[[str], Machine], role: str, daemon: str
) -> None:
    place = machine(role)
    with started(place, daemon) as one:
        one.notice("READY=1")
        health = ask_socket(place.socket(daemon), "health")
        assert health["pid"] == one.process.pid
        assert health["state"] == "ready"
        assert place.socket(daemon).stat().st_mode & 0o777 == 0o600
        for port in place.ports.get(daemon, []):
            socket.create_connection(("127.0.0.1", port), 30).close()

        second = gatepost("run", daemon, "--config", str(place.config))
        assert (second.status, second.out) == (75, ""), second
        assert len(second.err.splitlines()) == 1, second
        assert re.search(r"already running|does it run already", second.err), second
        # The first is none the worse for it.
        assert ask_socket(place.socket(daemon), "health")["pid"] == one.process.pid

        began = time.monotonic()
        one.process.send_signal(signal.SIGTERM)
        one.notice("STOPPING=1")
        out, err = one.process.communicate(timeout=60)
        assert one.process.returncode == 0, err
        assert time.monotonic() - began < 30
        assert out == ""
        assert "Traceback" not in err
        assert "did not stop in time" not in err
    assert not place.socket(daemon).exists()
    for port in place.ports.get(daemon, []):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 30)


def test_an_idle_connection_does_not_keep_a_gateway_from_ending(machine: Callable[[str], Machine]) -> None:
    place = machine("esa")
    with started(place, "gateway") as one:
        one.notice("READY=1")
        with socket.create_connection(("127.0.0.1", place.ports["gateway"][0]), 30) as idle:
            idle.settimeout(60)
            assert idle.recv(100).startswith(b"220 ")
            one.process.send_signal(signal.SIGTERM)
            said = b""
            while chunk := idle.recv(100):
                said += chunk
            assert said.startswith(b"421 ")
        assert one.process.wait(60) == 0


def test_a_port_in_use_is_one_line_that_names_it(machine: Callable[[str], Machine]) -> None:
    place = machine("esa")
    for daemon in ("gateway", "cpq-listener", "console"):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", place.ports[daemon][0]))
            other.listen()
            done = gatepost("run", daemon, "--config", str(place.config))
        assert done.status == 69, done
        lines = [line for line in done.err.splitlines() if line]
        assert len(lines) == 1, done
        assert f"127.0.0.1:{place.ports[daemon][0]}" in lines[0]


def test_a_daemon_that_was_killed_starts_again(machine: Callable[[str], Machine]) -> None:
    place = machine("esa")
    for _ in range(2):
        with started(place, "delivery-queue") as one:
            one.notice("READY=1")
            one.process.kill()
            one.process.wait(60)
    with started(place, "delivery-queue") as one:
        one.notice("READY=1")
        eventually(lambda: is_ready(place.socket("delivery-queue")))
