"""A support engineer of the lab: runs a command on an appliance through the bastion, with a certificate."""

from pathlib import Path
from typing import Any

from core.errors import GatepostError
from core.ssh import run_command


async def through_the_bastion(facts: dict[str, Any], command: str, machine: str = "esa") -> str:
    """Run a console command on a machine of the lab through the tunnel and give what it printed."""
    host, _, port = facts["bastion"]["engineers"].rpartition(":")
    engineer = facts["engineer"]
    result = await run_command(
        host,
        int(port),
        facts[machine]["serial"].lower(),
        Path(engineer["key"]),
        _bastion_key(Path(engineer["known_hosts"]), host),
        command,
        30,
        certificate_path=Path(engineer["certificate"]),
    )
    if result.status:
        raise GatepostError(f"through the bastion: {result.stderr.decode().strip()}", result.status)
    return result.stdout.decode()


def _bastion_key(file: Path, host: str) -> str:
    return next(line.partition(" ")[2] for line in file.read_text().splitlines() if f"[{host}]" in line)
