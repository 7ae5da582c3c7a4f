"""A daemon's way to another configuration: the candidate is read once, and each part of the daemon prepares with it.

Roots call `switch_of` with their parts: each takes the candidate as a `Machine` of the same folder and gives what is
to be applied. Where anything is wrong the mail log has a line for each fault and the daemon goes on with what it has.
What a daemon reads and does not follow while it runs is named in `FIXED`: a change there counts after a restart, and
whoever commits it is told.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core import activation
from core.config import Section
from core.errors import ConfigError, Problem
from core.maillog import clean
from core.switch import Also, Prepared, Switch, prompt, together
from core.time_zone import set_zone
from daemons.config import Document
from daemons.machine import Machine
from daemons.port import opened_by_systemd

Warn = Callable[[str], None]
Part = Callable[[Machine], Awaitable[Prepared]]
"""Prepares one part of a daemon for a candidate. Raises `ConfigError` with every fault of its own."""
_ALWAYS = ("appliance.role", "appliance.serial", "appliance.hostname", "runtime")
_DELIVERY = ("connect_timeout_s", "greeting_timeout_s", "command_timeout_s", "final_timeout_s", "idle_close_s", "port")
FIXED: dict[str, tuple[str, ...]] = {
    "gateway": ("spool", "filters.thread_above", "filters.max_scan_size"),
    "cpq-listener": ("spool", "cpq", "filters.max_scan_size"),
    "delivery-queue": (
        *("spool", "queue", "cpq.implicit_tls", "delivery_tls.authorities", "delivery_tls.mta_sts_port"),
        *("delivery_tls.mta_sts_timeout_s", "bounce_verification"),
        *("delivery.source_address", *(f"delivery.{key}" for key in _DELIVERY)),
    ),
    "release-host": ("spool", "cpq"),
    "tunnel-client": ("tunnel",),
    "bastion": ("bastion",),
    "keyd": ("keyd", "bastion"),
    "console": (
        "tunnel",
        *(f"console.{key}" for key in ("address", "port", "service", "status_log_s", "login_timeout_s")),
        *("console.connections", "console.connections_per_source"),
    ),
    "web": ("web",),
}
"""Sections and keys (`section.key`) that each daemon takes at its start."""

BULK = {"route": ("delivery-queue",), "alt_source": ("gateway", "cpq-listener")}
"""Tables that may have tens of thousands of rows, and the daemons that have a use for them."""


def switch_of(machine: Machine, who: str, warn: Warn, *parts: Part, also: Also | None = None) -> Switch:
    """Make the switch of the daemon `who`, which is `gateway-N` for one of several; `warn` logs a line."""
    set_zone(machine.document.appliance.timezone)
    every: tuple[Part, ...] = (*parts, _zone, partial(_logs, machine, who))
    kind = "gateway" if who.startswith("gateway-") else who
    fixed = (*_ALWAYS, *FIXED[kind])
    useless = [name for name, users in BULK.items() if kind not in users]

    async def prepare(file: Path) -> Prepared:
        try:
            candidate = await asyncio.to_thread(opened, machine, file, useless)
            found = await together(*(part(candidate) for part in every))
        except ConfigError as error:
            what = "Configuration" if file == machine.config else "Candidate configuration"
            for problem in error.problems:
                warn(f"{who}: {what} not reloaded: {clean(str(problem))}")
            raise
        keys = tuple(_with_remedy(machine, differing(machine.document, candidate.document, fixed)))
        return Prepared(found.apply, found.drop, (*found.restart, *keys))

    return Switch(machine.config, machine.digest, prepare, also=also)


def _with_remedy(machine: Machine, keys: Iterable[str]) -> Iterator[str]:
    """Say of an address that the service manager opens what has to precede the restart."""
    places = [port for port in opened_by_systemd(machine.document) if activation.in_use()]
    opened_keys = {key for port in places for key in (port.key, f"{port.section}.{port.address_key}")}
    for key in keys:
        yield f"{key} (first `gatepost systemd install`: systemd opens it)" if key in opened_keys else key


async def _zone(candidate: Machine) -> Prepared:
    """Have this process show times in the candidate's zone."""
    return Prepared(prompt(lambda: set_zone(candidate.document.appliance.timezone)))


async def _logs(machine: Machine, who: str, candidate: Machine) -> Prepared:
    """Have the logs of this process follow the candidate's subscriptions, and say that a configuration has come."""
    wanted = candidate.logs

    def apply() -> None:
        machine.logs.follow(wanted.all(), wanted.details)
        machine.note(f"{who}: the configuration has been read and is in force")

    return Prepared(prompt(apply))


def opened(machine: Machine, file: Path, without: Collection[str] = ()) -> Machine:
    """Read and check another document for a machine. Raises `ConfigError` with every fault."""
    candidate = Machine.open(machine.config, file, without)
    if candidate.role != machine.role:
        raise ConfigError([Problem(str(file), "appliance.role", "a running machine keeps its role")])
    return candidate


def differing(old: Document, new: Document, keys: Collection[str]) -> Iterator[str]:
    """Name the keys in which two documents differ, among those under `keys`."""
    for name in keys:
        section, _, key = name.partition(".")
        before, after = getattr(old, section, None), getattr(new, section, None)
        if before == after:
            continue
        for path in _paths(section, _plain(before), _plain(after)):
            if not key or path == name or path.startswith(f"{name}."):
                yield path


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Section) else value


def _paths(name: str, old: Any, new: Any) -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _paths(f"{name}.{key}", old.get(key), new.get(key))
    else:
        yield name
