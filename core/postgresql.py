"""PostgreSQL: how a database is reached, prepared and used; the one importer of asyncpg.

Used by the `store` packages that also run on SQLite: they hand in work as generators of statements
(`core/database.py`). Changes are made one after the other, whoever makes them, as SQLite does: each transaction
takes the same lock first, so work needs no thought for what others write meanwhile. Work that waits together
shares a transaction, each piece in a savepoint of its own.

Connects at first use and again after every loss. Raises `DatabaseAway` (75) when the database does not answer in
time, `SchemaRefused` (78) when it is not ours or too new, `DatabaseError` for the rest. Logs nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import asyncpg

from core.database import (
    ConstraintFailed,
    DatabaseAway,
    DatabaseError,
    Row,
    Schema,
    Work,
)
from core.errors import EX_CONFIG, EX_TEMPFAIL

T = TypeVar("T")
_LOCK = 0x67617465
"""Number of the advisory lock that changes take."""
_VERSION_TABLE = """
CREATE TABLE IF NOT EXISTS gatepost_schema (
    name TEXT PRIMARY KEY, version INTEGER NOT NULL, compatible INTEGER NOT NULL
)
"""
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_NOT_OURS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


def place(url: str) -> str:
    """Name a database without the secrets that its address may hold."""
    parts = urlsplit(url)
    host = parts.hostname or "this machine"
    return f"PostgreSQL database {parts.path.strip('/') or 'of the user'} at {host}"


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Turn asyncpg's errors into ours."""
    try:
        yield
    except asyncpg.IntegrityConstraintViolationError as error:
        raise ConstraintFailed(f"{where}: {error}", EX_TEMPFAIL) from error
    except _NOT_OURS as error:
        raise DatabaseError(f"{where}: {error}; see `database` in the configuration", EX_CONFIG) from error
    except _AWAY as error:
        raise DatabaseAway(f"{where} does not answer: {str(error) or type(error).__name__}", EX_TEMPFAIL) from error
    except asyncpg.PostgresError as error:
        raise DatabaseError(f"{where}: {type(error).__name__}: {error}", EX_TEMPFAIL) from error


class Postgresql:
    """A database at an address `postgresql://…`, with a few connections to it."""

    def __init__(self, url: str, schema: Schema, *, timeout_s: float = 5.0, connections: int = 4) -> None:
        self._url = url
        self._schema = schema
        self._timeout_s = timeout_s
        self._connections = connections
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._closed = False
        self.place = place(url)

    async def read(self, work: Callable[[], Work[T]]) -> T:
        """Run work that changes nothing, in one consistent view."""
        with _translated(self.place):
            async with (
                self._connection() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await _perform(connection, work())

    async def change(self, works: Sequence[Callable[[], Work[Any]]]) -> list[Any]:
        """Run works in one transaction; gives the result of each, or the exception that undid this one alone."""
        with _translated(self.place):
            async with self._connection() as connection, connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                return [await self._one(connection, work) for work in works]

    async def close(self) -> None:
        """Let the connections go; whoever asks after that is told that the database is away."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()

    async def _one(self, connection: Any, work: Callable[[], Work[Any]]) -> Any:
        try:
            async with connection.transaction():
                with _translated(self.place):
                    return await _perform(connection, work())
        except DatabaseAway:
            raise
        except Exception as error:  # handed to the one who asked for this piece
            return error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """Lend a connection for at most the time-out; one that was cut off in its work is not used again."""
        async with asyncio.timeout(self._timeout_s):
            pool = await self._opened()
            connection = await pool.acquire()
            try:
                yield connection
            except BaseException as error:
                if not isinstance(error, Exception) or isinstance(error, TimeoutError):
                    connection.terminate()
                raise
            finally:
                await pool.release(connection, timeout=1)

    async def _opened(self) -> Any:
        async with self._opening:
            if self._closed:
                raise DatabaseAway(f"the connections to the {self.place} are closed", EX_TEMPFAIL)
            if self._pool is None:
                pool = await asyncpg.create_pool(
                    self._url,
                    min_size=1,
                    max_size=self._connections,
                    timeout=self._timeout_s,
                    command_timeout=self._timeout_s,
                    server_settings={"application_name": f"gatepost {self._schema.name}"},
                )
                try:
                    async with pool.acquire() as connection, connection.transaction():
                        await self._prepare(connection)
                except BaseException:
                    pool.terminate()
                    raise
                self._pool = pool
        return self._pool

    async def _prepare(self, connection: Any) -> None:
        """Bring the tables to the layout of this release, or refuse."""
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_VERSION_TABLE)
        schema = self._schema
        row = await connection.fetchrow("SELECT version, compatible FROM gatepost_schema WHERE name = $1", schema.name)
        scripts = [schema.create] if row is None else schema.scripts(self.place, *row)
        for script in scripts:
            await connection.execute(script)
        if scripts:
            await connection.execute(
                "INSERT INTO gatepost_schema VALUES ($1, $2, $3)"
                " ON CONFLICT (name) DO UPDATE SET version = excluded.version, compatible = excluded.compatible",
                *(schema.name, schema.version, schema.compatible),
            )


async def _perform(connection: Any, work: Work[T]) -> T:
    """Run a generator of statements to its end and give its result."""
    try:
        sql, values = next(work)
        while True:
            rows: list[Row] = [tuple(row) for row in await connection.fetch(sql, *values)]
            sql, values = work.send(rows)
    except StopIteration as end:
        return cast(T, end.value)
