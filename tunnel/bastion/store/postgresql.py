"""The store's PostgreSQL: one database for several bastions.

Changes that wait together share one transaction, so that a thousand appliances that come back at once do not wait
for a thousand commits.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from core.database import Work
from core.errors import GatepostError
from core.postgresql import Postgresql
from core.runtime import spawn
from tunnel.bastion.store.schema import SCHEMA

T = TypeVar("T")
_MOST_AT_ONCE = 100


class PostgresqlEngine:
    """`Engine` on a database server."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        self._database = Postgresql(url, SCHEMA, timeout_s=timeout_s)
        self._waiting: list[tuple[Callable[[], Work[Any]], asyncio.Future[Any]]] = []
        self._busy = False

    async def read(self, work: Callable[[], Work[T]]) -> T:
        """Run work that changes nothing."""
        return await self._database.read(work)

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """Run work in the next transaction."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if not self._busy:
            self._busy = True
            spawn(self._run(), "changes of the bastion's store")
        return await future

    async def close(self) -> None:
        """Let the connections go."""
        await self._database.close()

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
                await self._commit([one for one in batch if not one[1].done()])
        finally:
            self._busy = False

    async def _commit(self, batch: list[tuple[Callable[[], Work[Any]], asyncio.Future[Any]]]) -> None:
        outcomes: list[Any]
        try:
            outcomes = await self._database.change([work for work, _ in batch])
        except GatepostError as error:
            outcomes = [error] * len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
