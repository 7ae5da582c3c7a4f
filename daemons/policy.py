"""What a gateway decides about mail with: message filters and the alternate source table, replaced together.

The roots `gateway` and `cpq_listener` build one `MailPolicy`, run its pipeline and hand its `reload` to SIGHUP. The
document is read whole: where anything in it is wrong, all stays as it was and the mail log has a line for each fault.
"""

from core.errors import ConfigError, Problem
from core.maillog import MailLog, clean
from daemons.config import Esa
from daemons.machine import Machine
from daemons.wiring import alternate_sources, filter_source
from mail.filter.load import Filters
from mail.filter.view import ScanSettings
from mail.pipeline import Pipeline


class MailPolicy:
    """Filters and alternate sources of one process."""

    def __init__(self, machine: Machine, document: Esa, log: MailLog) -> None:
        """Read and compile. Raises `ConfigError` with every fault of the filters."""
        self._machine = machine
        self._log = log
        self.filters = Filters(filter_source(machine, document))
        self._sources = alternate_sources(document)
        section = document.filters
        scan = ScanSettings(section.unscannable_matches, section.max_scan_size)
        self.pipeline = Pipeline(lambda: self.filters.program, scan=scan, sources=lambda: self._sources)

    async def reload(self) -> None:
        """Read the configuration and the filters again. Raises `ConfigError` with every fault."""
        try:
            document = Machine.open(self._machine.config).document
        except ConfigError as error:
            raise self._refused("Configuration", error.problems) from None
        if not isinstance(document, Esa):
            fault = Problem(str(self._machine.config), "appliance.role", "a running machine keeps its role")
            raise self._refused("Configuration", (fault,))
        if problems := self.filters.reload(filter_source(self._machine, document)):
            raise self._refused("Message filters", problems)
        self._sources = alternate_sources(document)
        self._log.info(f"Message filters reloaded: {len(self.filters.program.filters)} in force")

    def _refused(self, what: str, problems: "list[Problem] | tuple[Problem, ...]") -> ConfigError:
        for problem in problems:
            self._log.warning(f"{what} not reloaded: {clean(str(problem))}")
        return ConfigError(problems)
