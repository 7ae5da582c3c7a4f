"""A support engineer of the lab: commands and files of an appliance through the bastion, and beyond it.

Uses what `gatepost bastion ca sign --forwarding` wrote: the certificate for the bastion, and one for each appliance.
"""

from pathlib import Path
from typing import Any

from core.errors import GatepostError
from core.ssh import CommandResult, run_command
from core.ssh.client import Stop, fetch_file, run_through

_PATIENCE_S = 30.0


class Engineer:
    """The engineer that lab.json names."""

    def __init__(self, facts: dict[str, Any], first: str = "esa") -> None:
        """`first` is the gateway that has a tunnel."""
        self._facts = facts
        self._first = first
        self._host, _, port = facts["bastion"]["engineers"].rpartition(":")
        self._port = int(port)
        self._bastion = self._host if self._port == 22 else f"[{self._host}]:{port}"
        self._key = Path(facts["engineer"]["key"])
        self._certificate = Path(facts["engineer"]["certificate"])
        self._known = Path(facts["engineer"]["known_hosts"])

    async def run(self, command: str, machine: str = "") -> str:
        """Run a console command on a machine (the first gateway) and give what it printed; the bastion records it."""
        result = await run_command(
            self._host,
            self._port,
            self._serial(machine),
            self._key,
            self._pinned(self._bastion),
            command,
            _PATIENCE_S,
            certificate_path=self._certificate,
        )
        return _printed(result)

    async def fetch(self, path: str, machine: str = "") -> bytes:
        """Fetch a file of a machine over SFTP; the bastion notes it."""
        return await fetch_file(
            self._host,
            self._port,
            self._serial(machine),
            self._key,
            self._pinned(self._bastion),
            path,
            _PATIENCE_S,
            certificate_path=self._certificate,
        )

    async def run_beyond(self, command: str, second: str = "sma") -> str:
        """Run a console command on an appliance that has no tunnel, through one that has."""
        pinned = self._pinned(self._bastion)
        first = self._first
        bastion = Stop(self._host, self._port, self._serial(first), self._key, pinned, self._certificate)
        host, _, port = self._facts[second]["ssh"].rpartition(":")
        stops = [bastion, self._appliance(first, self._serial(first), 22), self._appliance(second, host, int(port))]
        return _printed(await run_through(stops, command, _PATIENCE_S))

    def _appliance(self, machine: str, host: str, port: int) -> Stop:
        serial = self._serial(machine)
        certificate = self._certificate.name.replace("-cert.pub", f"-{serial}-cert.pub")
        return Stop(host, port, "service", self._key, self._pinned(serial), self._certificate.with_name(certificate))

    def _serial(self, machine: str) -> str:
        return str(self._facts[machine or self._first]["serial"]).lower()

    def _pinned(self, name: str) -> str:
        lines = self._known.read_text().splitlines()
        return next(line.partition(" ")[2] for line in lines if line.startswith(f"{name} "))


def _printed(result: CommandResult) -> str:
    if result.status:
        raise GatepostError(f"through the bastion: {result.stderr.decode().strip()}", result.status)
    return result.stdout.decode()
