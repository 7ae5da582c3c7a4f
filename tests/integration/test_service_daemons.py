"""The service account on real daemons: `techsupport` enables, an engineer comes with the derived key, and is ended."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core import agreement, ssh
from core.control import peer_pid
from tests.integration.test_daemons import Machine, make, moved, started
from tests.support.lab import gatepost, short_folder, sleeping
from tests.support.need import needs
from tests.support.visit import PIPE
from tests.support.waiting import eventually
from tunnel.seed.code import read
from tunnel.seed.derive import Derived, derive

pytestmark = [pytest.mark.slow, needs("ssh"), needs("sftp")]


class Esa:
    """An appliance whose console and tunnel client run."""

    def __init__(self, machine: Machine, support: bytes) -> None:
        self.machine = machine
        self.support = support

    def cli(self, *words: str, status: int = 0) -> str:
        ran = gatepost("cli", "--config", str(self.machine.config), *words)
        assert ran.status == status, ran
        return ran.out

    def json(self, *words: str) -> Any:
        return json.loads(self.cli(*words, "--json"))

    def derived(self, enabled: dict[str, Any]) -> Derived:
        """Derive what support derives, from what the customer says on the telephone."""
        appliance = (self.machine.dir / "keys" / "exchange_x25519.pub").read_text().strip()
        seed = read(enabled["seed"])
        return derive(
            agreement.agree(self.support, agreement.decode(appliance)),
            seed,
            serial=enabled["serial"],
            appliance_key=agreement.decode(appliance),
            support_key=agreement.public_of(self.support),
            key_id=1,
            day=seed.day or 0,
            mode=enabled["mode"],
        )

    def ssh(self, key: Path, *words: str) -> list[str]:
        known = self.machine.dir / "known"
        host = ssh.public_text(ssh.read_key(self.machine.dir / "keys" / "host_ed25519"))
        known.write_text(ssh.known_hosts_line("esa", host) + "\n")
        proxy = f"{sys.executable} {PIPE} {self.machine.dir}/run/console-service.sock ana"
        options = [f"UserKnownHostsFile={known}", f"ProxyCommand={proxy}", "BatchMode=yes", "IdentitiesOnly=yes"]
        flags = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "none", "-i", str(key), *flags, *words]

    def run(self, key: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.ssh(key, "service@esa", *words), capture_output=True, timeout=60, check=False)


@contextmanager
def appliance() -> Iterator[Esa]:
    with short_folder() as folder:
        machine = make("esa", folder / "esa")
        support = agreement.make_private()
        text = machine.config.read_text()
        text = moved(text, "tunnel", "support_keys", f'["1 {agreement.encode(agreement.public_of(support))}"]')
        text = moved(text, "tunnel", "service_user", '"nobody"')
        text = moved(text, "tunnel", "recording_reserve", "0")
        machine.config.write_text(text)
        with started(machine, "console") as console:
            console.notice("READY=1")
            with started(machine, "tunnel-client") as client:
                client.notice("READY=1")
                yield Esa(machine, support)


def _key(folder: Path, derived: Derived) -> Path:
    path = folder / "derived"
    ssh.write_key(path, derived.key)
    return path


def test_the_seed_lets_support_in_until_it_is_ended_and_all_of_it_is_recorded(tmp_path: Path) -> None:
    with appliance() as esa:
        enabled = esa.json("techsupport", "sshaccess")
        key = _key(tmp_path, esa.derived(enabled))
        shown = esa.run(key, "version --json")
        assert shown.returncode == 0, shown
        assert json.loads(shown.stdout)["serial"] == enabled["serial"]
        (esa.machine.dir / "captures" / "a.pcap").write_bytes(b"packets")
        words = esa.ssh(key, "-s", "service@esa", "sftp")
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
            sessions = eventually(lambda: esa.json("techsupport", "status")["sessions"])
            assert [(one["kind"], one["way"], one["from"]) for one in sessions] == [("files", "key", "ana")]
            esa.cli("techsupport", "kill", sessions[0]["id"])
            assert held.wait(timeout=60) != 0
        assert esa.run(key, "-tt", "shell").returncode == 77
        listed = eventually(lambda: _closed(esa.json("techsupport", "recordings")["recordings"], 2))
        assert {one["request"] for one in listed} == {"exec", "subsystem"}
        esa.cli("techsupport", "disable")
        assert esa.run(key, "version").returncode == 255
        log = esa.machine.dir / "log" / "cli_logs" / "cli.current"
        for words in ("support session", "service (SHA256:"):
            eventually(lambda words=words: words in log.read_text(), words)  # type: ignore[misc]


def _closed(recordings: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    return recordings if len(recordings) == count else []


def test_a_login_shell_ends_with_the_console_that_was_killed_hard(tmp_path: Path) -> None:
    mark = f"{6_000_000 + os.getpid()}"
    with appliance() as esa:
        key = _key(tmp_path, esa.derived(esa.json("techsupport", "sshaccess", "--shell")))
        words = esa.ssh(key, "-tt", "service@esa", "shell")
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
            assert held.stdin is not None
            held.stdin.write(f"echo I am $(id -un); sleep {mark}\n".encode())
            held.stdin.flush()
            eventually(lambda: sleeping(mark))
            os.kill(_console(esa), signal.SIGKILL)
            held.wait(timeout=60)
        eventually(lambda: not sleeping(mark))


def _console(esa: Esa) -> int:
    return peer_pid(esa.machine.dir / "run" / "console.sock")


def test_five_wrong_passwords_are_locked_and_twenty_disable_remote_access_by_the_tunnel_client(tmp_path: Path) -> None:
    with appliance() as esa:
        esa.json("techsupport", "sshaccess")
        stranger = tmp_path / "stranger"
        ssh.write_key(stranger, ssh.make_key())
        for number in range(20):
            words = esa.ssh(stranger, "service@esa", "version")
            words = [word.replace(".sock ana", f".sock eve{number // 4}") for word in words]
            assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == 255
            time.sleep(0.05)
        eventually(lambda: esa.json("techsupport", "status")["mode"] == "disabled")


def test_support_can_always_be_shut_out_without_a_valid_configuration_and_without_a_tunnel_client(
    tmp_path: Path,
) -> None:
    with appliance() as esa:
        good = esa.machine.config.read_text()
        key = _key(tmp_path, esa.derived(esa.json("techsupport", "sshaccess")))
        assert esa.run(key, "version").returncode == 0
        esa.machine.config.write_text(good + "\n[nonsense\n")
        esa.cli("version", status=78)
        assert esa.json("techsupport", "status")["mode"] == "sshaccess"
        esa.cli("techsupport", "disable")
        assert esa.run(key, "version").returncode == 255
        esa.machine.config.write_text(good)
        key.unlink()
        key = _key(tmp_path, esa.derived(esa.json("techsupport", "sshaccess")))
        assert esa.run(key, "version").returncode == 0
        pid = peer_pid(esa.machine.dir / "run" / "tunnel-client.sock")
        esa.machine.config.write_text(good + "\n[nonsense\n")
        os.kill(pid, signal.SIGSTOP)
        socket_path = esa.machine.dir / "run" / "tunnel-client.sock"
        hidden = socket_path.rename(socket_path.with_suffix(".hidden"))
        esa.cli("techsupport", "disable", status=75)  # it is there, and would write its own state over ours
        hidden.rename(socket_path)
        os.kill(pid, signal.SIGKILL)
        esa.cli("techsupport", "disable")
        assert esa.run(key, "version").returncode == 255
        assert json.loads((esa.machine.dir / "state" / "tunnel.json").read_text())["mode"] == "disabled"
