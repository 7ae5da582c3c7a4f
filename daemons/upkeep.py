"""The console's watch over its machine: folders, disk, certificates; and the console's alerts.

The console runs on every machine, so it is the one that looks.
"""

from collections.abc import Iterable

from core import clock
from core.alert.kind import WARNING
from core.alert.watch import Trouble, Watch, certificate_troubles, disk_troubles
from core.disk import Disk
from core.lifecycle import Service
from core.log.keeper import LogKeeper
from core.maillog import Log
from core.switch import Prepared
from daemons.alerting import alerts_of, following
from daemons.config import Document
from daemons.machine import Machine


class Upkeep:
    """Alerts, and what watches."""

    def __init__(self, machine: Machine, log: Log) -> None:
        self._machine = machine
        self._document: Document = machine.document
        self.alerts = alerts_of(machine, machine.document, "console", log)
        self.services: list[Service] = [self.alerts, Watch(self.alerts, self._troubles, log)]
        self._following = following(self.alerts)

    def log_keeper(self) -> LogKeeper:
        """Make the service that rolls logs over by the clock and sends them on; people hear of those that stay."""
        machine = self._machine
        keeper = LogKeeper(machine.logs, machine.hostname, memory=machine.state / "logs.json", note=machine.note)
        keeper.alert = lambda about, text: self.alerts.send(WARNING, "LOG.NOT_SENT", text, about=about)
        return keeper

    async def prepare(self, candidate: Machine) -> Prepared:
        """Go by other quotas, certificates, names and alerts."""
        first = await self._following(candidate)

        async def apply() -> None:
            self._document = candidate.document
            await first.apply()

        return Prepared(apply)

    def _troubles(self) -> Iterable[Trouble]:
        document, folder = self._document, self._machine.dir
        files = {"(keys/tls.crt)": self._machine.keys / "tls.crt"}
        files |= {row.name or row.certificate: folder / row.certificate for row in document.certificate}
        found = certificate_troubles(files, clock.now())
        return found + disk_troubles(folder, document.disk_quota, Disk())
