"""SQLite: how a database is opened, changed and used from the event loop; the one importer of apsw.

Used by the `store` modules of the queue and of the quarantine, which hold the SQL. Knows no table but its own
`gatepost_schema`. Databases are opened with WAL, `synchronous=FULL` (a commit survives power loss), a busy
time-out and foreign keys on. `Database` is synchronous and belongs to one thread at a time; the loop goes
through `DatabaseThread`. Raises `DatabaseError` (75, try again) and its kinds of `core/database.py`. Logs nothing.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar, cast
from urllib.parse import quote

import apsw

from core.database import (
    ConstraintFailed,
    DatabaseBusy,
    DatabaseError,
    Row,
    Schema,
    SchemaRefused,
    Value,
    Work,
)
from core.disk import Disk
from core.errors import EX_CONFIG, EX_TEMPFAIL

P = ParamSpec("P")
T = TypeVar("T")

_VERSION_TABLE = """
CREATE TABLE gatepost_schema (
    name TEXT PRIMARY KEY, version INTEGER NOT NULL, compatible INTEGER NOT NULL
) WITHOUT ROWID
"""

__all__ = [
    "ConstraintFailed",
    "Database",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseThread",
    "Row",
    "Schema",
    "SchemaRefused",
    "Value",
    "open_database",
]


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn apsw's errors into ours."""
    try:
        yield
    except apsw.BusyError as error:
        raise DatabaseBusy(f"{path}: busy: {error}", EX_TEMPFAIL) from error
    except apsw.ConstraintError as error:
        raise ConstraintFailed(f"{path}: {error}", EX_TEMPFAIL) from error
    except apsw.Error as error:
        raise DatabaseError(f"{path}: {type(error).__name__}: {error}", EX_TEMPFAIL) from error


class Database:
    """One connection. Not for two threads at the same time."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        """Wrap an open connection; use `open_database`."""
        self._connection = connection
        self.path = path

    def query(self, sql: str, values: Sequence[Value] | Mapping[str, Value] = ()) -> list[Row]:
        """Run one statement (or a script without values) and give all its rows."""
        with _translated(self.path):
            return list(self._connection.execute(sql, values or None))

    def first(self, sql: str, values: Sequence[Value] | Mapping[str, Value] = ()) -> Row | None:
        """Run one query and give its first row, None when there is none."""
        with _translated(self.path):
            return next(iter(self._connection.execute(sql, values or None)), None)

    def many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement once for every row of values."""
        with _translated(self.path):
            self._connection.executemany(sql, rows)

    @property
    def changed(self) -> int:
        """Rows that the last INSERT, UPDATE or DELETE touched."""
        return self._connection.changes()

    def perform(self, work: Work[T]) -> T:
        """Run a generator of statements to its end and give its result."""
        try:
            sql, values = next(work)
            while True:
                sql, values = work.send(self.query(sql.replace("$", "?"), values))
        except StopIteration as end:
            return cast(T, end.value)

    @contextmanager
    def transaction(self) -> Iterator["Database"]:
        """Hold a write transaction: durable when the block ends, undone when it raises."""
        with _translated(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self
            with _translated(self.path):
                self._connection.execute("COMMIT")
        finally:
            # Some errors (disk full, I/O) have already rolled back by themselves.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection; the last one folds the write-ahead log into the file."""
        with _translated(self.path):
            self._connection.close()


def open_database(path: Path, schema: Schema, *, busy_timeout_s: float = 5.0, content: Path | None = None) -> Database:
    """Open `path`, make or upgrade its tables, and give the connection.

    `content` is a folder whose files only this database knows. Raises `SchemaRefused` when the file is another
    store's, too new for this release, or new while there are such files: they would be taken for litter and removed.
    A file that is too new is left as it was.
    """
    _refuse_newer(path, schema)
    with _translated(path):
        connection = apsw.Connection(os.fspath(path))
        connection.set_busy_timeout(round(busy_timeout_s * 1000))
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("foreign_keys", True)
        connection.pragma("journal_size_limit", 64 << 20)
    database = Database(connection, path)
    try:
        with database.transaction():
            _prepare(database, schema, content)
    except BaseException:
        database.close()
        raise
    Disk().fsync_directory(path.parent)  # SQLite does it for its logs only
    return database


def copy_database(source: Path, target: Path) -> None:
    """Copy a database that may be in use, as it is at one instant; `target` is replaced. Blocking."""
    with _translated(source):
        origin = apsw.Connection(os.fspath(source), flags=apsw.SQLITE_OPEN_READWRITE)
        target.unlink(missing_ok=True)
        copy = apsw.Connection(os.fspath(target))
        try:
            origin.set_busy_timeout(5000)
            with copy.backup("main", origin, "main") as backup:
                while not backup.done:
                    backup.step(-1)
        finally:
            copy.close()
            origin.close()


def _refuse_newer(path: Path, schema: Schema) -> None:
    """Look at the layout without writing an octet, as far as that can be told: `_prepare` has the last word.

    A database that was closed has no log beside it and is read as a file that nobody changes, because a connection
    of the usual kind would leave its own files there. Beside a log, which a crash left, one that only reads is needed.
    """
    log = path.with_name(path.name + "-wal")
    way = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    try:
        connection = apsw.Connection(
            f"file:{quote(os.fspath(path))}?{way}", flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )
        sql = "SELECT version, compatible FROM gatepost_schema WHERE name = ?"
        row = next(iter(connection.execute(sql, (schema.name,))), None)
        connection.close()
    except apsw.Error:
        return  # none yet, another's, or in use
    if row is not None:
        schema.scripts(str(path), *row)


def _prepare(database: Database, schema: Schema, content: Path | None) -> None:
    """Bring the tables to the layout of this release, or refuse."""
    if not database.query("SELECT 1 FROM sqlite_schema LIMIT 1"):
        if content is not None and any(file.is_file() for file in content.rglob("*")):
            raise SchemaRefused(
                f"{database.path}: empty, but {content} holds mail that it has to know;"
                " restore the database, or move that folder away to begin anew",
                EX_CONFIG,
            )
        database.query(_VERSION_TABLE)
        database.query(schema.create)
        _stamp(database, schema)
        return
    known = database.first("SELECT 1 FROM sqlite_schema WHERE name = 'gatepost_schema'")
    row = (
        database.first("SELECT version, compatible FROM gatepost_schema WHERE name = ?", (schema.name,))
        if known
        else None
    )
    if row is None:
        raise SchemaRefused(f"{database.path}: is not a {schema.name} database", EX_CONFIG)
    version, compatible = row
    assert isinstance(version, int)
    assert isinstance(compatible, int)
    for script in schema.scripts(str(database.path), version, compatible):
        database.query(script)
    if version < schema.version:
        _stamp(database, schema)


def _stamp(database: Database, schema: Schema) -> None:
    """Write down the layout."""
    database.query(
        "INSERT OR REPLACE INTO gatepost_schema VALUES (?, ?, ?)",
        (schema.name, schema.version, schema.compatible),
    )


class DatabaseThread:
    """A database with a thread of its own, so that the loop never waits for a disk.

    Work runs in the order in which it was handed in, one piece at a time.
    """

    def __init__(self, path: Path, schema: Schema, *, busy_timeout_s: float = 5.0, content: Path | None = None) -> None:
        """Open the database (in the calling thread: a refusal is raised here) and start the thread."""
        self._database = open_database(path, schema, busy_timeout_s=busy_timeout_s, content=content)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{path.stem}")

    def submit(self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue `work(database, …)` and give its future at once."""
        return self._pool.submit(work, self._database, *args, **kwargs)

    async def run(self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(database, …)` in the thread and wait for it.

        Work that has begun is finished even if the waiter is cancelled.
        """
        return await asyncio.wrap_future(self.submit(work, *args, **kwargs))

    async def change(self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, with `work` inside one transaction: durable when this returns."""
        return await self.run(_in_transaction, work, *args, **kwargs)

    def close(self) -> None:
        """Finish what is queued, then close; blocks for as long as that takes."""
        self._pool.shutdown(wait=True)
        self._database.close()


def _in_transaction(
    database: Database, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run `work` inside one transaction of `database`."""
    with database.transaction():
        return work(database, *args, **kwargs)
