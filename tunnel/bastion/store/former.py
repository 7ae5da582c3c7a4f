"""What a bastion kept before it had a store: one JSON file per appliance in state/registry, taken over once.

The folder is set aside as `registry.imported` when all of it is in the store. Logs what it did and what it left.
"""

from pathlib import Path

import msgspec

from core.database import DatabaseError
from core.diagnostic import INFO, WARNING, say
from core.errors import EX_CONFIG, GatepostError
from tunnel.bastion.store.appliance import Appliances
from tunnel.bastion.store.record import Enrolled


async def take_over(registry: Path, appliances: Appliances) -> None:
    """Enrol every appliance of the old registry; one that the store knows with other keys stays as it is there."""
    for found in _former(registry):
        try:
            await appliances.enroll(found)
        except DatabaseError:
            raise
        except GatepostError as error:
            say(WARNING, f"{registry}: {found.serial} was not taken over: {error.text}")
    _set_aside(registry)


def _former(registry: Path) -> list[Enrolled]:
    """Read the folder; there is none on most machines."""
    appliances = []
    for file in sorted(registry.glob("*.json")):
        try:
            appliances.append(msgspec.json.decode(file.read_bytes(), type=Enrolled))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise GatepostError(f"{file}: cannot be read: {error}; repair or remove it", EX_CONFIG) from error
    return appliances


def _set_aside(registry: Path) -> None:
    if registry.is_dir():
        registry.rename(registry.with_name("registry.imported"))
        say(INFO, f"the appliances of {registry} were taken over into the store")
