"""Configuration sections translated into the settings of what several roots build."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from core import clock, plugin
from core.content import ContentSettings
from core.control import call
from core.errors import ConfigError, Problem
from core.journal.journal import JournalSettings
from core.smtp.session import SessionFactory
from core.smtp.settings import ListenerSettings
from cpq.locate import Location
from cpq.transfer import Locate
from daemons.config import Esa, Sma
from daemons.machine import Machine
from mail.alternate import AlternateSource, AlternateSources
from mail.bounce.config import load_keys
from mail.bounce.tag import Tags
from mail.bounce.verify import Verification
from mail.config import ListenerSection, SpoolSection
from mail.delivery.gateway import AUTO
from mail.filter.compiler import Around
from mail.filter.load import Filters, FilterSource
from mail.rewrite.tables import Rewriting, rewriting_of


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
    return Filters(filter_source(machine, document))


def filter_source(machine: Machine, document: Esa) -> FilterSource:
    """Say where a gateway's message filters are, and what they may name."""
    section = document.filters
    file: Path | None = machine.dir / section.file if section.file else None
    interfaces = {AUTO, *(row.name.lower() for row in document.interface)}
    interfaces |= {row.name.lower() for row in document.interface_group}
    profiles = {"default", *(row.name.lower() for row in document.bounce_profile)}
    texts = {row.name.lower() for row in document.text if row.kind == "disclaimer"}
    return FilterSource(file, section.text, Around(machine.hostname, interfaces, profiles, texts))


def alternate_sources(document: Esa) -> AlternateSources:
    """Build the table of who leaves by which virtual gateway."""
    names = {AUTO: AUTO}
    names |= {row.name.lower(): row.name for row in document.interface}
    names |= {row.name.lower(): row.name for row in document.interface_group}
    # The default one has no queue beside the queue of mail that no row is about.
    names[document.delivery.default_interface.lower()] = ""
    rows = [AlternateSource(row.match, row.interface) for row in document.alt_source]
    return AlternateSources(rows, names)


def rewriting(machine: Machine, document: Esa) -> Rewriting:
    """Build the tables that change addresses. Raises `ConfigError` for aliases that cannot be followed."""
    try:
        return rewriting_of(document.listener, document.alias, machine.hostname)
    except ValueError as error:
        raise ConfigError([Problem(str(machine.config), "alias", str(error))]) from None


def handler_of(machine: Machine, section: ListenerSection) -> Any:
    """Load the aiosmtpd handler that a listener names, None if it names none. Raises `ConfigError`."""
    if not section.handler:
        return None
    key = f"listener.{section.name}.handler"
    return plugin.load(section.handler, machine.dir / "handlers", file=str(machine.config), key=key)


def bounce_tags(machine: Machine, document: Esa | Sma) -> Tags:
    """Read the keys of bounce verification. Raises `ConfigError` for one that is unreadable, or needed and missing."""
    tags = Tags(load_keys(document.bounce_verification.key, machine.dir), clock.now)
    listeners = document.listener if isinstance(document, Esa) else ()
    asking = [f"[[destination]] {row.domain}" for row in document.destination if row.bounce_verification]
    asking += [f"[[listener]] {row.name}" for row in listeners if row.bounce_verification != "off"]
    if asking and not tags.tagging:
        reason = f"a key that is not retired is needed for {', '.join(asking)}"
        raise ConfigError([Problem(str(machine.config), "bounce_verification.key", reason)])
    return tags


def verification_of(document: Esa, section: ListenerSection, tags: Tags) -> Verification | None:
    """Say how a listener looks at bounces; None where there are no keys."""
    if not tags.tagging:
        return None
    mark = f"{section.bounce_verification_header}\r\n".encode("ascii")
    return Verification(tags, section.bounce_verification, document.bounce_verification.untagged_valid, mark)


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


def locate_through(machine: Machine) -> Locate:
    """Give the way to ask release-host where an appliance is."""

    async def locate(serial: str) -> Location:
        found: dict[str, Any] = await call(machine.socket("release-host"), "locate", timeout_s=30, serial=serial)
        return Location(**found)

    return locate
