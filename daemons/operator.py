"""What the console and `gatepost cli` share: this machine as commands see it, the audit log, and the local form."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from core import clock
from core.errors import ConfigError, Problem
from core.maillog import MailLog, clean
from core.runtime import run
from core.schema import Schema
from core.schema.config import top_keys
from core.time_zone import set_zone
from daemons.alerting import alert_records, direct_path
from daemons.config import DOCUMENTS
from daemons.filtering import FilterReader
from daemons.formats import release
from daemons.in_force import InForce
from daemons.machine import Machine
from daemons.shutting_out import always_possible, bare_appliance, shut_out
from mail.config import KIND_POLICY
from ops.access.record import FILE, Records
from ops.cli.appliance import Appliance
from ops.cli.local import run_local as run_words
from ops.cli.sessions import Sessions
from ops.configuration.commit import Committer
from ops.configuration.editing import Editing
from ops.configuration.place import Place
from tunnel.seed.code import chosen


def appliance_of(
    machine: Machine, sessions: Sessions, log: MailLog | None = None, records: Records | None = None
) -> Appliance:
    """Describe this machine to the commands; `log` is the audit log, `records` the log-ins that a daemon keeps."""
    place, note = Place(machine.config), (lambda text: log.info(clean(text))) if log else _nowhere
    validate = partial(_faults_in, machine)
    return Appliance(
        role=machine.role,
        serial=machine.serial,
        hostname=machine.hostname,
        run=machine.dir / "run",
        files=machine.dir / "configuration",
        version=release(),
        configuration=InForce(machine),
        schema=document_keys(),
        listener_defaults={kind: policy.model_dump(exclude_none=True) for kind, policy in KIND_POLICY.items()},
        editing=lambda login: Editing(place, login, validate, note=note, now=clock.now),
        committer=lambda: Committer(place, validate, note=_told(note, machine.note), now=clock.now),
        pair=partial(_paired, machine) if machine.role == "esa" else None,
        filters=FilterReader(machine.config) if machine.role == "esa" else None,
        trace=partial(_traced, machine) if machine.role == "esa" else None,
        sessions=sessions.facts,
        note=note,
        records=records or Records(machine.state / FILE),
        shut_out=lambda: shut_out(machine.dir),
        check_seed=lambda text: _check_seed(text, machine.serial),
        check_hops=lambda addresses: _check_hops(addresses, machine),
        direct=partial(direct_path, machine, log),
        alert_records=alert_records(machine.dir),
        logs=machine.logs,
    )


def _faults_in(machine: Machine, tables: Mapping[str, Any]) -> list[Problem]:
    from daemons.candidate import faults_in  # all that any daemon would build: only who changes something waits for it

    return faults_in(machine.config, machine.role, tables)


async def _paired(machine: Machine, document: dict[str, Any]) -> dict[str, Any]:
    from daemons.pair import pairing_verb  # SSH

    return await pairing_verb(machine)(document)


async def _traced(
    machine: Machine, tables: Mapping[str, Any], wanted: Mapping[str, Any], data: bytes
) -> dict[str, Any]:
    from daemons.tracing import trace  # pipeline, filters and delivery

    return await trace(machine, tables, wanted, data)


def document_keys() -> Schema:
    """Describe the documents of all roles."""
    return top_keys(*DOCUMENTS.values())


def _told(*notes: Callable[[str], None]) -> Callable[[str], None]:
    """Have a line in several logs."""

    def note(text: str) -> None:
        for one in notes:
            one(text)

    return note


def _nowhere(_text: str) -> None:
    """Note nothing."""


def _check_seed(text: str, serial: str) -> None:
    """Raise status 65 for a seed string that is mistyped or easily guessed."""
    chosen(text, serial)


def _check_hops(addresses: Sequence[str], machine: Machine) -> None:
    """Raise status 64 for addresses that the configuration does not let support go on to."""
    from tunnel.appliance.enabling import hops_of  # SSH again

    if (section := getattr(machine.document, "tunnel", None)) is not None:
        hops_of(addresses, section.hop_networks)


def audit_log(machine: Machine) -> MailLog:
    """Open the CLI audit log."""
    return machine.log("cli")


def run_local(config: Path, words: Sequence[str]) -> int:
    """Run operator commands on this machine; give the exit status."""
    try:
        machine = Machine.open(config)
    except ConfigError as error:
        if not always_possible(words):
            raise
        sys.stderr.write(f"gatepost: the configuration has errors, see `gatepost check`: {error.problems[0]}\n")
        return run(run_words(bare_appliance(config), words))
    set_zone(machine.document.appliance.timezone)
    width = get_terminal_size().columns if sys.stdout.isatty() else 0
    log = audit_log(machine)
    try:
        return run(run_words(appliance_of(machine, Sessions(), log), words, width=width, audit=log))
    finally:
        log.close()
