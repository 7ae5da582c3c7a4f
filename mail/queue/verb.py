"""The control verbs of `delivery-queue`: thin handlers over the views, the operations, the suspension, the importer.

The documents are those of `--json`. Raises `GatepostError` for arguments that make no sense.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from core.clock import Clock
from core.control import Handler
from core.errors import EX_USAGE, GatepostError
from core.sqlite import DatabaseThread
from mail.queue.documents import received_at
from mail.queue.importer import Importer
from mail.queue.now import DeliverNow
from mail.queue.operate import Operations
from mail.queue.reading import Reading
from mail.queue.schedule import Scheduler
from mail.queue.select import Selector
from mail.queue.space import Space
from mail.queue.store import oldest
from mail.queue.suspension import Suspension
from mail.queue.view import MOST, SORTS, Views
from protocol.domain import canonical


class Figures(Protocol):
    """The daemon's counters, to be read and reset."""

    def facts(self) -> dict[str, Any]: ...

    def reset(self) -> None: ...


@dataclass(frozen=True)
class Parts:
    """What the verbs speak for."""

    views: Views
    operations: Operations
    reading: Reading
    deliver_now: DeliverNow
    suspension: Suspension
    scheduler: Scheduler
    importer: Importer
    counters: Figures
    reader: DatabaseThread
    """A way to the index on which nothing is under way that takes long."""
    health: Callable[[], list[str]]
    reset_counts: Callable[[], Awaitable[None]]
    space: Space
    now: Clock


class Verbs:
    """Handlers by name."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def all(self) -> dict[str, Handler]:
        """Give every handler."""
        operations = self._parts.operations
        return {
            "status": self._status,
            "tophosts": self._tophosts,
            "hoststatus": self._hoststatus,
            "showrecipients": self._showrecipients,
            "operate": operations.begin,
            "operation": operations.follow,
            "operation_stop": operations.stop,
            "deliver_now": self._parts.deliver_now.handle,
            "suspend": self._suspend,
            "resume": self._resume,
            "message": self._message,
            "message_piece": self._message_piece,
            "oldest_message": self._oldest_message,
            "reset_counters": self._reset_counters,
            "poke": self._poke,
        }

    async def _status(self, _args: dict[str, Any]) -> dict[str, Any]:
        parts = self._parts
        document = await parts.reader.run(oldest)
        facts = parts.counters.facts()
        return {
            "state": "Delivery suspended" if parts.suspension.suspended else "Online",
            "suspended_hosts": parts.suspension.hosts,
            **facts,
            "gauges": facts["gauges"] | parts.views.gauges() | await parts.space.gauges(),
            "oldest_message_at": received_at(document),
            "troubles": parts.health(),
        }

    async def _tophosts(self, args: dict[str, Any]) -> dict[str, Any]:
        return self._parts.views.tophosts(str(args.get("sort") or SORTS[0]), int(args.get("limit") or 0))

    async def _hoststatus(self, args: dict[str, Any]) -> dict[str, Any]:
        views, host = self._parts.views, canonical(str(args["host"]))
        return {**views.hoststatus(host), "oldest_message_at": await views.oldest(host)}

    async def _showrecipients(self, args: dict[str, Any]) -> dict[str, Any]:
        limit = min(int(args.get("limit") or MOST), MOST)
        return await self._parts.views.showrecipients(
            Selector.of(args), limit=limit, after=str(args.get("after") or "")
        )

    async def _suspend(self, args: dict[str, Any]) -> dict[str, Any]:
        hosts = None if args.get("hosts") is None else [str(host) for host in args["hosts"]]
        delay_s = None if args.get("delay_s") is None else float(args["delay_s"])
        return await self._parts.suspension.suspend(hosts, delay_s)

    async def _resume(self, args: dict[str, Any]) -> dict[str, Any]:
        return self._parts.suspension.resume(None if args.get("hosts") is None else [str(h) for h in args["hosts"]])

    async def _message(self, args: dict[str, Any]) -> dict[str, Any]:
        return await self._parts.reading.facts(_mid(args))

    async def _message_piece(self, args: dict[str, Any]) -> dict[str, Any]:
        return await self._parts.reading.piece(_mid(args), int(args.get("offset") or 0))

    async def _oldest_message(self, _args: dict[str, Any]) -> dict[str, Any]:
        return await self._parts.reading.oldest()

    async def _reset_counters(self, _args: dict[str, Any]) -> dict[str, Any]:
        await self._parts.reset_counts()
        return {"reset_at": self._parts.now()}

    async def _poke(self, args: dict[str, Any]) -> dict[str, Any]:
        self._parts.importer.poke(str(args.get("topic", "")))
        return {}


def _mid(args: dict[str, Any]) -> int:
    text = str(args.get("mid", ""))
    if not text.isdecimal() or len(text) > 18:
        raise GatepostError(f"{text!r} is no MID: give a number", EX_USAGE)
    return int(text)
