"""The machine as programs watch it, for the daemon `web`: the health port, and the text of the metrics."""

from core.http import HttpPort, Place
from core.switch import Prepared
from daemons.config import Document
from daemons.machine import Machine
from ops import health
from ops.cli.appliance import Appliance
from ops.metrics import metrics_of
from ops.web.health import build


class Watched:
    """Follows the configuration: where to listen, and what belongs to the machine."""

    def __init__(self, machine: Machine, appliance: Appliance) -> None:
        self.appliance = appliance
        self._place = _machine(machine)
        self.port = HttpPort("health", build(lambda: self._place, self._text), _port(machine.document))
        """The service."""

    async def metrics(self) -> bytes:
        """Look at the machine and write its metrics."""
        return await self._text(await health.ready(self._place))

    async def _text(self, report: health.Report) -> bytes:
        return await metrics_of(self.appliance, self._place, report)

    async def prepare(self, candidate: Machine) -> Prepared:
        """Take hold of another address. Raises `GatepostError` if it is taken."""
        moved, place = await self.port.prepare(_port(candidate.document)), _machine(candidate)

        async def apply() -> None:
            await moved.apply()
            self._place = place

        return Prepared(apply, moved.drop)


def _port(document: Document) -> Place | None:
    section = document.health
    return Place(section.address, section.port) if section.enabled else None


def _machine(machine: Machine) -> health.Place:
    document = machine.document
    wanted = document.model_dump(include={"appliance", "spool", "health", "runtime", "certificate"})
    return health.Place.of(wanted, machine.dir)
