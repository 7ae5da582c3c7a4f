"""The store of log-ins for the event loop: opened at its first use, in a thread of its own.

The console, the web side and the commands `last` and `userconfig` each have one over the same file. A store that
cannot be used lets nobody in by password or code, since nobody could count the failures; keys go on working.
Raises `DatabaseError`, or `GatepostError` 73 where the file cannot be made.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from core import diagnostic
from core.errors import EX_CANTCREAT, GatepostError
from core.lifecycle import Scope
from core.sqlite import Database, DatabaseThread
from ops.access.store import SCHEMA, interrupt

P = ParamSpec("P")
T = TypeVar("T")
FILE = "access.db"
"""In the machine's state directory."""


class Records:
    """One process's way to the store. As a service it closes the file at the end."""

    name = "log-in records"

    def __init__(self, path: Path, front: str = "") -> None:
        """`front` is what this daemon opens log-ins for; none is open when it starts."""
        self._path = path
        self._front = front
        self._opened: DatabaseThread | None = None
        self._opening = asyncio.Lock()

    async def look(self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of `store` that only reads."""
        return await (await self._database()).run(work, *args, **kwargs)

    async def change(self, work: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of `store` in one transaction; durable when this returns."""
        return await (await self._database()).change(work, *args, **kwargs)

    async def run(self, scope: Scope) -> None:
        """Close the file at the end; log-ins of an earlier run, which nobody saw end, are marked."""
        if self._front:
            try:
                await self.change(interrupt, self._front)
            except GatepostError as error:
                # Without the console nobody could come in, by key, to mend it.
                text = (
                    f"{error.text}; log-in by key goes on, passwords and codes are refused until the file can be used"
                )
                diagnostic.say(diagnostic.ERROR, text)
        scope.ready()
        await scope.stopping.wait()
        await self.close()

    async def close(self) -> None:
        """Let go of the file; a later use opens it again."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await asyncio.to_thread(opened.close)

    async def _database(self) -> DatabaseThread:
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncio.to_thread(self._open)
            return self._opened

    def _open(self) -> DatabaseThread:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            if not self._path.exists():
                self._path.touch(0o600)
        except OSError as error:
            raise GatepostError(f"{self._path}: cannot be made: {error.strerror}", EX_CANTCREAT) from error
        return DatabaseThread(self._path, SCHEMA)
