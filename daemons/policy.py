"""What a gateway decides about mail with: filters, alternate sources, aliases, domain maps, masquerading; all at once.

The roots `gateway` and `cpq_listener` build one `MailPolicy`, run its pipeline and hand its `prepare` to their switch.
"""

import asyncio
from typing import cast

from core.errors import ConfigError
from core.maillog import MailLog, clean
from core.switch import Prepared, prompt
from daemons.config import Esa
from daemons.machine import Machine
from daemons.reload import opened
from daemons.stamping import disclaimers
from daemons.wiring import alternate_sources, filter_source, filters_of, rewriting
from mail.alternate import AlternateSources
from mail.filter.load import Filters
from mail.filter.view import ScanSettings
from mail.pipeline import Pipeline
from mail.rewrite.tables import Rewriting
from mail.stamp import Disclaimers


class MailPolicy:
    """Filters and alternate sources of one process."""

    def __init__(self, machine: Machine, document: Esa, log: MailLog, who: str) -> None:
        """Read and compile, for the daemon `who`. Raises `ConfigError` with every fault of the filters."""
        self._machine = machine
        self._log = log
        self._who = who
        self.filters = Filters(filter_source(machine, document))
        self._sources = alternate_sources(document)
        self._rewriting = rewriting(machine, document)
        self._disclaimers = disclaimers(machine, document)
        section = document.filters
        scan = ScanSettings(section.unscannable_matches, section.max_scan_size)
        self.pipeline = Pipeline(
            lambda: self.filters.program,
            scan=scan,
            sources=lambda: self._sources,
            rewriting=lambda: self._rewriting,
            disclaimers=lambda: self._disclaimers,
        )

    async def prepare(self, candidate: Machine) -> Prepared:
        """Read and compile what another document asks for. Raises `ConfigError` with every fault of the filters."""
        filters, sources, tables, texts = await asyncio.to_thread(_built, candidate)

        def apply() -> None:
            self.filters.adopt(filters)
            self._sources = sources
            self._rewriting = tables
            self._disclaimers = texts
            self._log.info(f"Message filters reloaded: {len(self.filters.program.filters)} in force")

        return Prepared(prompt(apply))

    async def reload(self) -> None:
        """Read the filters of the machine's file again. Raises `ConfigError` with every fault; all stays then."""
        try:
            candidate = await asyncio.to_thread(opened, self._machine, self._machine.config)
            await (await self.prepare(candidate)).apply()
        except ConfigError as error:
            for problem in error.problems:
                self._log.warning(f"{self._who}: Message filters not reloaded: {clean(str(problem))}")
            raise


def _built(candidate: Machine) -> tuple[Filters, AlternateSources, Rewriting, Disclaimers]:
    document = cast(Esa, candidate.document)
    tables, texts = rewriting(candidate, document), disclaimers(candidate, document)
    return filters_of(candidate, document), alternate_sources(document), tables, texts
