"""The order in which the bastion's parts begin and end: the store first and last, everybody who asks it in between.

Used by `assembly.py`. A database that is away at the start is waited for, while everybody who comes is refused; that is
logged once.
"""

import asyncio

from core.diagnostic import WARNING, say
from core.lifecycle import Scope, Service
from tunnel.bastion.store import DatabaseAway, Store

_AGAIN_S = 2.0
"""Between looks at a database that was away from the beginning."""


class Opened:
    """The store's life: open before anybody is let in, closed when everybody has gone."""

    name = "store"

    def __init__(self, store: Store) -> None:
        self._store = store
        self.event = asyncio.Event()
        self.users = 0
        self._free = asyncio.Event()

    async def run(self, scope: Scope) -> None:
        """Open, stay until stopping and until those who use it have ended, close."""
        try:
            begun = await self._begun()
            self.event.set()
            scope.ready()
            while not begun and await scope.pause(_AGAIN_S):
                begun = await self._begun()
            await scope.stopping.wait()
            if self.users:
                await self._free.wait()
            # Channels that were just cut tell their ends; the store is asked nothing after that.
            await asyncio.sleep(0.1)
        finally:
            await self._store.close()

    async def _begun(self) -> bool:
        """Begin with the store; a database that is away is waited for, while everybody who comes is refused."""
        try:
            await self._store.begin()
        except DatabaseAway as away:
            if not self.event.is_set():
                say(WARNING, f"bastion: {away.text}; nobody is let in until it does")
            return False
        return True

    def left(self) -> None:
        """One that uses the store has ended."""
        self.users -= 1
        if not self.users:
            self._free.set()


class After:
    """A service that begins when the store is open, and ends before it is closed."""

    def __init__(self, opened: Opened, service: Service) -> None:
        self.name = service.name
        self._opened = opened
        self._service = service
        opened.users += 1

    async def run(self, scope: Scope) -> None:
        """Wait for the store, then be the service."""
        try:
            await self._opened.event.wait()
            await self._service.run(scope)
        finally:
            self._opened.left()
