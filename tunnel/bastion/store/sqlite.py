"""The store's SQLite: one file, which the commands may open while the bastion runs.

Changes that wait together share one commit, each in a savepoint of its own, so that a thousand appliances that
come back at once do not wait for a thousand syncs.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from core.database import DatabaseAway, Work
from core.errors import EX_TEMPFAIL
from core.sqlite import Database, DatabaseThread
from tunnel.bastion.store.schema import SCHEMA

T = TypeVar("T")
_MOST_AT_ONCE = 200
Waiting = tuple[Callable[[], Work[Any]], Future[Any]]
Outcome = tuple[Future[Any], Any, BaseException | None]


class SqliteEngine:
    """`Engine` on a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._thread = DatabaseThread(path, SCHEMA, busy_timeout_s=10)
        self._waiting: list[Waiting] = []
        self._lock = Lock()
        self._closed = False

    async def read(self, work: Callable[[], Work[T]]) -> T:
        """Run work that changes nothing, in one consistent view."""
        self._check()
        return await self._thread.run(_read, work)

    async def change(self, work: Callable[[], Work[T]]) -> T:
        """Run work in the next commit."""
        self._check()
        future: Future[T] = Future()
        with self._lock:
            self._waiting.append((work, future))
            first = len(self._waiting) == 1
        if first:
            self._thread.submit(self._commit)
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Finish and close the file; whoever asks after that is told that the database is away."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._thread.close)

    def _check(self) -> None:
        if self._closed:
            raise DatabaseAway("the bastion's store is closed", EX_TEMPFAIL)

    def _commit(self, database: Database) -> None:
        """Make all changes that wait, in the thread, so many in one transaction."""
        while True:
            with self._lock:
                batch = self._waiting[:_MOST_AT_ONCE]
            _settle(database, [one for one in batch if one[1].set_running_or_notify_cancel()])
            with self._lock:
                del self._waiting[: len(batch)]
                if not self._waiting:
                    return


def _settle(database: Database, batch: list[Waiting]) -> None:
    """Make changes in one transaction and give their futures what came of them."""
    try:
        with database.transaction():
            outcomes = [_one(database, *one) for one in batch]
    except Exception as error:
        outcomes = [(future, None, error) for _, future in batch]
    for future, result, fault in outcomes:
        if fault is None:
            future.set_result(result)
        else:
            future.set_exception(fault)


def _one(database: Database, work: Callable[[], Work[Any]], future: Future[Any]) -> Outcome:
    """Run one change so that its failure undoes nothing of the others."""
    database.query("SAVEPOINT one")
    try:
        result = database.perform(work())
    except Exception as error:
        database.query("ROLLBACK TO one")
        database.query("RELEASE one")
        return future, None, error
    database.query("RELEASE one")
    return future, result, None


def _read(database: Database, work: Callable[[], Work[T]]) -> T:
    database.query("BEGIN")
    try:
        return database.perform(work())
    finally:
        database.query("COMMIT")
