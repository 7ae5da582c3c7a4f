"""The control verbs of `delivery-queue`: thin handlers over the views, the suspension and the importer.

The documents are those of `--json`. Raises `GatepostError` for arguments that make no sense.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from core.control import Handler
from core.record import decode_accepted
from core.sqlite import DatabaseThread
from mail.queue.importer import Importer
from mail.queue.store import oldest
from mail.queue.suspension import Suspension
from mail.queue.view import MOST, SORTS, Views


class Figures(Protocol):
    """The daemon's counters, to be read."""

    def facts(self) -> dict[str, Any]: ...


class Verbs:
    """Handlers by name."""

    def __init__(
        self,
        views: Views,
        suspension: Suspension,
        importer: Importer,
        counters: Figures,
        *,
        database: DatabaseThread,
        health: Callable[[], list[str]],
        storage: Path,
    ) -> None:
        """`storage` is a folder on the file system that the queue fills."""
        self._views = views
        self._suspension = suspension
        self._importer = importer
        self._counters = counters
        self._database = database
        self._health = health
        self._storage = storage

    def all(self) -> dict[str, Handler]:
        """Give every handler."""
        return {
            "status": self._status,
            "tophosts": self._tophosts,
            "hoststatus": self._hoststatus,
            "showrecipients": self._showrecipients,
            "suspend": self._suspend,
            "resume": self._resume,
            "poke": self._poke,
        }

    async def _status(self, _args: dict[str, Any]) -> dict[str, Any]:
        document = await self._database.run(oldest)
        facts = self._counters.facts()
        return {
            "state": "Delivery suspended" if self._suspension.suspended else "Online",
            **facts,
            "gauges": facts["gauges"] | self._views.gauges() | self._space(),
            "oldest_message_at": decode_accepted(document).received_at if document else None,
            "troubles": self._health(),
        }

    def _space(self) -> dict[str, int]:
        disk = shutil.disk_usage(self._storage)
        return {"kbytes_used": disk.used // 1024, "kbytes_free": disk.free // 1024}

    async def _tophosts(self, args: dict[str, Any]) -> dict[str, Any]:
        return self._views.tophosts(str(args.get("sort") or SORTS[0]), int(args.get("limit") or 0))

    async def _hoststatus(self, args: dict[str, Any]) -> dict[str, Any]:
        return self._views.hoststatus(str(args["host"]))

    async def _showrecipients(self, args: dict[str, Any]) -> dict[str, Any]:
        return await self._views.showrecipients(args.get("host"), args.get("sender"), int(args.get("limit") or MOST))

    async def _suspend(self, _args: dict[str, Any]) -> dict[str, Any]:
        return self._order(True)

    async def _resume(self, _args: dict[str, Any]) -> dict[str, Any]:
        return self._order(False)

    def _order(self, suspended: bool) -> dict[str, Any]:
        self._suspension.order(suspended)
        return {"state": "Delivery suspended" if suspended else "Online"}

    async def _poke(self, args: dict[str, Any]) -> dict[str, Any]:
        self._importer.poke(str(args.get("topic", "")))
        return {}
