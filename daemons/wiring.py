"""Configuration sections translated into the settings of what several roots build."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from core import plugin
from core.content import ContentSettings
from core.errors import ConfigError
from core.journal.journal import JournalSettings
from core.maillog import MailLog, clean
from core.runtime import Reload
from core.smtp.session import SessionFactory
from core.smtp.settings import ListenerSettings
from daemons.config import Esa
from daemons.machine import Machine
from mail.config import ListenerSection, SpoolSection
from mail.filter.load import Filters, FilterSource
from mail.filter.view import ScanSettings
from mail.pipeline import Pipeline


def journal_settings(spool: SpoolSection, *, reserve: bool = True) -> JournalSettings:
    """Translate the section [spool]; without `reserve` the space that is kept free may be used."""
    return JournalSettings(
        reserve_bytes=None if reserve else 0,
        segment_bytes=spool.segment_size,
        backlog_bytes=spool.max_backlog,
        reserve_fraction=spool.reserve_percent / 100,
        content=ContentSettings(inline_bytes=spool.inline_size, memory_bytes=spool.content_memory),
    )


def filters_of(machine: Machine, document: Esa) -> Filters:
    """Read and compile a gateway's message filters. Raises `ConfigError` with every fault."""
    section = document.filters
    file: Path | None = machine.dir / section.file if section.file else None
    return Filters(FilterSource(file, section.text, machine.hostname))


def filter_reload(filters: Filters, log: MailLog) -> Reload:
    """Give what SIGHUP does: filters are read again; where that fails the running ones stay, and the log says why.

    Raises `ConfigError` with every fault.
    """

    async def reload() -> None:
        if problems := filters.reload():
            for problem in problems:
                log.warning(f"Message filters not reloaded: {clean(str(problem))}")
            raise ConfigError(problems)
        log.info(f"Message filters reloaded: {len(filters.program.filters)} in force")

    return reload


def pipeline_of(document: Esa, filters: Filters) -> Pipeline:
    """Build a gateway's pipeline."""
    section = document.filters
    scan = ScanSettings(section.unscannable_matches, section.max_scan_size)
    return Pipeline(lambda: filters.program, scan=scan)


def handler_of(machine: Machine, section: ListenerSection) -> Any:
    """Load the aiosmtpd handler that a listener names, None if it names none. Raises `ConfigError`."""
    if not section.handler:
        return None
    key = f"listener.{section.name}.handler"
    return plugin.load(section.handler, machine.dir / "handlers", file=str(machine.config), key=key)


def with_handler(
    machine: Machine, section: ListenerSection, settings: ListenerSettings, sessions: SessionFactory
) -> tuple[ListenerSettings, SessionFactory]:
    """Put the aiosmtpd handler that a listener names in front of its sessions. Raises `ConfigError`."""
    handler = handler_of(machine, section)
    if handler is None:
        return settings, sessions
    from core.aiosmtpd_handler import CONSULTED, handler_sessions  # aiosmtpd only where a handler is used

    server = replace(settings.server, consulted_verbs=CONSULTED)
    return replace(settings, server=server), handler_sessions(handler, machine.hostname, inner=sessions)
