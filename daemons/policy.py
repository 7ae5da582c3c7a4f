"""What a gateway decides about mail with: message filters and the alternate source table, replaced together.

The roots `gateway` and `cpq_listener` build one `MailPolicy`, run its pipeline and hand its `reload` to SIGHUP. The
document is read whole: where anything in it is wrong, all stays as it was and the mail log has a line for each fault.
"""

from core.maillog import MailLog
from daemons.config import Document, Esa
from daemons.machine import Machine
from daemons.reload import refuse, reread
from daemons.wiring import alternate_sources, filter_source
from mail.alternate import AlternateSources
from mail.filter.load import Filters, FilterSource
from mail.filter.view import ScanSettings
from mail.pipeline import Pipeline


class MailPolicy:
    """Filters and alternate sources of one process."""

    def __init__(self, machine: Machine, document: Esa, log: MailLog, who: str) -> None:
        """Read and compile, for the daemon `who`. Raises `ConfigError` with every fault of the filters."""
        self._machine = machine
        self._log = log
        self._who = who
        self.filters = Filters(filter_source(machine, document))
        self._sources = alternate_sources(document)
        section = document.filters
        scan = ScanSettings(section.unscannable_matches, section.max_scan_size)
        self.pipeline = Pipeline(lambda: self.filters.program, scan=scan, sources=lambda: self._sources)

    async def reload(self) -> None:
        """Read the configuration and the filters again. Raises `ConfigError` with every fault."""
        source, sources = await reread(self._machine, self._log, self._who, self._built)
        if problems := self.filters.reload(source):
            refuse(self._log, f"{self._who}: Message filters", problems)
        self._sources = sources
        self._log.info(f"Message filters reloaded: {len(self.filters.program.filters)} in force")

    def _built(self, document: Document) -> tuple[FilterSource, AlternateSources]:
        assert isinstance(document, Esa), "only a gateway has a mail policy"
        return filter_source(self._machine, document), alternate_sources(document)
