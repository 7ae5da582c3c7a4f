"""Several bastions as real daemons, each with its keyd, on one PostgreSQL."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import ssh
from daemons.initial import make
from tests.support.lab import GATEPOST, gatepost, whole_lines
from tests.support.ports import free_ports
from tests.support.remote import BASTION
from tunnel.keyd.client import SOCKET, Keyd
from tunnel.keyd.keyring import Keyring

PRESENCE_S = 3


class NodeMachine:
    """The machine of one bastion."""

    def __init__(self, folder: Path, name: str, database: str, first: "NodeMachine | None" = None) -> None:
        self.name = name
        self.directory = folder
        make("bastion", folder, hostname=f"{name}.example.test")
        config = first.config if first else self.config
        if first is not None:
            for part in ("keyd", "keys/bastion_host_ed25519", "keys/bastion_host_ed25519.pub"):
                source = first.directory / part
                if source.is_dir():
                    shutil.copytree(source, folder / part, dirs_exist_ok=True)
                else:
                    shutil.copy(source, folder / part)
        self.ports = free_ports(4)
        self._write(database)
        done = gatepost("bastion", "peer", name, "--config", str(config), "--out", str(folder / "keys"))
        assert done.status == 0, done
        keyring = Keyring(folder / "keyd")
        self.public = {
            "host": ssh.public_text(ssh.read_key(folder / "keys" / "bastion_host_ed25519")),
            "host_ca": ssh.public_text(keyring.host_ca),
            "engineer_ca": ssh.public_text(keyring.engineer_ca),
        }
        self.exchange_public = f"{keyring.support_keys()[-1].key_id} {keyring.support_keys()[-1].public}"
        self.keyd = Keyd(folder / "run" / SOCKET)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def config(self) -> Path:
        return self.directory / "gatepost.toml"

    @property
    def engineers(self) -> int:
        return self.ports[2]

    def start(self, *daemons: str) -> None:
        """Start daemons of this machine."""
        for daemon in daemons:
            log = (self.directory / "log" / f"{daemon}.err").open("ab")
            command = [*GATEPOST, "run", daemon, "--config", str(self.config)]
            self._processes[daemon] = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
            log.close()

    def kill(self, daemon: str, number: int = signal.SIGKILL) -> None:
        """End a daemon."""
        process = self._processes.pop(daemon)
        os.kill(process.pid, number)
        process.wait(60)

    def end(self) -> None:
        """End what still runs."""
        for daemon in tuple(self._processes):
            self.kill(daemon, signal.SIGTERM)

    def said(self, daemon: str) -> str:
        return (self.directory / "log" / f"{daemon}.err").read_text()

    def audit(self) -> list[str]:
        """Give the events of the audit log."""
        return [json.loads(line)["event"] for line in whole_lines(self.directory / "log" / "audit.jsonl")]

    def _write(self, database: str) -> None:
        self.database = database
        serial = f"0123456789ABCDEF0123-{self.ports[0]:012X}"
        self.config.write_text(
            f'[appliance]\nrole = "bastion"\nserial = "{serial}"\nhostname = "{self.name}.example.test"\n'
            f'[bastion]\naddress = "127.0.0.1"\nports = [{self.ports[0]}, {self.ports[1]}]\nshared_ports = []\n'
            f'engineer_address = "127.0.0.1"\nengineer_port = {self.ports[2]}\nnames = ["{BASTION}"]\n'
            f'unlimited_sources = ["127.0.0.0/8"]\nregistration = "optional"\nliveness_s = 2\n'
            f'node = "{self.name}"\npeer_address = "127.0.0.1"\npeer_port = {self.ports[3]}\n'
            f'presence_s = {PRESENCE_S}\ndatabase = "{database}"\napproval = "none"\n'
            f"[keyd]\nderivations_per_hour = 1000\n"
        )


@contextmanager
def nodes(folder: Path, database: str) -> Iterator[tuple[NodeMachine, NodeMachine]]:
    """Run two bastions."""
    north = NodeMachine(folder / "n", "north", database)
    south = NodeMachine(folder / "s", "south", database, north)
    try:
        for machine in (north, south):
            machine.start("keyd", "bastion")
        yield north, south
    finally:
        north.end()
        south.end()
