"""The machine that commands act on: its identity, its daemons' control sockets, and what its console hands in.

Commands reach daemons only through here. Knows the socket names of each role; does not know what the verbs mean.
Raises `GatepostError` 69 with the remedy when a daemon does not run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from core import clock, control
from core.alert.direct import DirectPath
from core.alert.record import AlertRecords
from core.errors import EX_CONFIG, EX_UNAVAILABLE, GatepostError
from core.log.book import Logs
from core.role import ON
from core.schema import Schema
from ops.access.record import Records
from ops.configuration.commit import Committer
from ops.configuration.editing import Editing

_WITHOUT_FIGURES = ("keyd", "console", "web")
DAEMONS: Mapping[str, tuple[str, ...]] = {
    role: tuple(one for one in daemons if one not in _WITHOUT_FIGURES) for role, daemons in ON.items()
}
"""The daemons of each role that have the verb `status`."""

Pairing = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""Takes the document that the management host sends, gives the one it gets back."""


@dataclass(frozen=True)
class Answer:
    """What one daemon said: its document, or the error instead."""

    daemon: str
    document: Any = None
    error: GatepostError | None = None


def _no_sessions() -> list[dict[str, Any]]:
    return []


def _no_configuration() -> dict[str, Any]:
    return {}


def _no_editing(_login: str) -> Editing:
    raise GatepostError("the configuration of this machine cannot be edited here", EX_CONFIG)


def _nowhere(_text: str) -> None:
    """Note nothing."""


def _no_committer() -> Committer:
    raise GatepostError("the configuration of this machine cannot be committed here", EX_CONFIG)


def _any_hops(_addresses: Sequence[str]) -> None:
    """Take any addresses; whoever enables access looks at them again."""


def _any_seed(_text: str) -> None:
    """Take any seed string; whoever makes the key looks at it again."""


class FilterPlace(NamedTuple):
    """Where one message filter stands in a text: offsets, its mark (`:` or `!`), its comments within."""

    name: str
    active: bool
    mark: int
    start: int
    end: int


class FilterTexts(Protocol):
    """Reads the language of message filters."""

    def outline(self, text: str) -> list[FilterPlace]:
        """Give the filters of a text in order."""

    def faults(self, text: str, tables: Mapping[str, Any]) -> list[tuple[int, str]]:
        """Give every fault of a text with its line, in a configuration."""


Trace = Callable[[Mapping[str, Any], Mapping[str, Any], bytes], Awaitable[dict[str, Any]]]
"""Takes the tables of a configuration, what is asked, and the message; gives the document of `trace`."""


@dataclass(frozen=True)
class Appliance:
    """One machine as its operator sees it."""

    role: str
    serial: str
    hostname: str
    run: Path
    """Directory of the control sockets."""
    files: Path | None = None
    """Directory for what commands write for their caller, such as archived messages."""
    product: str = "Gatepost"
    version: str = ""
    configuration: Callable[[], Mapping[str, Any]] = _no_configuration
    """The configuration document that is in force, as plain tables."""
    schema: Schema = field(default_factory=dict, compare=False, repr=False)
    """What the documents of all kinds of machines can hold; the commands that edit are made from it."""
    listener_defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Policy parameters that come with each kind of listener."""
    editing: Callable[[str], Editing] = _no_editing
    """Gives the pending copy of a login."""
    committer: Callable[[], Committer] = _no_committer
    """Gives the machine's way to commit."""
    pair: Pairing | None = None
    sessions: Callable[[], list[dict[str, Any]]] = _no_sessions
    """Who is logged in: user, role, source, identity, since_at, idle_s."""
    note: Callable[[str], None] = _nowhere
    """Writes a line of the audit log."""
    records: Records | None = None
    """Locks and log-ins of this machine."""
    shut_out: Callable[[], dict[str, Any]] | None = None
    """Ends remote access where no tunnel client runs; gives its document. Raises `GatepostError`."""
    check_seed: Callable[[str], None] = _any_seed
    """Looks at a seed string that somebody chose; raises status 65 for one that cannot be taken."""
    check_hops: Callable[[Sequence[str]], None] = _any_hops
    """Looks at addresses that support may go on to; raises status 64 for one that may not be reached."""
    direct: Callable[[Mapping[str, Any]], DirectPath] | None = None
    """Makes the way for mail past the queue, as plain tables of a configuration have it. Raises `ConfigError`."""
    alert_records: AlertRecords | None = None
    """The machine's memory of alerts."""
    logs: Logs | None = None
    """The logs of this machine."""
    filters: FilterTexts | None = None
    """Reads message filters; None where no mail is taken."""
    trace: Trace | None = None
    """Sends a message through a configuration, for a look only; None where no mail is taken."""
    timeout_s: float = 10.0
    now: clock.Clock = clock.now

    @property
    def dir(self) -> Path:
        """The machine's folder."""
        return self.run.parent

    def sockets(self, daemon: str) -> list[Path]:
        """Give the control sockets of a daemon: one, or those of every gateway process."""
        if daemon == "gateway":
            return sorted(self.run.glob("gateway-*.sock")) or [self.run / "gateway-0.sock"]
        return [self.run / f"{daemon}.sock"]

    def has(self, daemon: str) -> bool:
        """Tell whether a machine of this role runs that daemon."""
        return daemon in DAEMONS.get(self.role, ())

    async def ask(self, daemon: str, verb: str, /, timeout_s: float | None = None, **args: Any) -> Any:
        """Ask the one daemon of that name; what is None in `args` is not sent."""
        return await self._ask(self.sockets(daemon)[0], verb, timeout_s, args)

    async def ask_at(self, socket: Path, verb: str, /, timeout_s: float | None = None, **args: Any) -> Any:
        """Ask the daemon behind one of `sockets`, where a particular process is meant."""
        return await self._ask(socket, verb, timeout_s, args)

    async def ask_each(
        self, daemons: Sequence[str], verb: str, /, timeout_s: float | None = None, **args: Any
    ) -> list[Answer]:
        """Ask several daemons at once, every process of each; errors are part of the answer."""
        paths = [path for daemon in daemons if self.has(daemon) for path in self.sockets(daemon)]
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._answer(path, verb, timeout_s, args)) for path in paths]
        return [task.result() for task in asked]

    async def _answer(self, path: Path, verb: str, timeout_s: float | None, args: dict[str, Any]) -> Answer:
        try:
            return Answer(path.stem, await self._ask(path, verb, timeout_s, args))
        except GatepostError as error:
            return Answer(path.stem, error=error)

    async def _ask(self, path: Path, verb: str, timeout_s: float | None, args: dict[str, Any]) -> Any:
        given = {name: value for name, value in args.items() if value is not None}
        try:
            return await control.call(path, verb, timeout_s=timeout_s or self.timeout_s, **given)
        except control.NotReached:
            unit = path.stem.rsplit("-", 1)[0] if path.stem.startswith("gateway-") else path.stem
            raise GatepostError(
                f"{path.stem} is not running; start it with `gatepost run {unit} --config FILE`", EX_UNAVAILABLE
            ) from None
