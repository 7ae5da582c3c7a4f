"""Proves every tunnel end to end from time to time, writes down who was seen, and says goodbye at the end."""

import asyncio
import random

from core.database import DatabaseError
from core.diagnostic import WARNING, say
from core.lifecycle import Scope
from tunnel.bastion.presence import Presence, Tunnel
from tunnel.bastion.store import Store

_AT_ONCE = 20
_RETURNS_A_SECOND = 50
"""So many appliances are asked back in a second when the bastion stops; it takes about three times as many."""
_DOWN_S = 3.0
"""A restart takes about so long."""


class Liveness:
    """See the module."""

    name = "liveness"

    def __init__(self, presence: Presence, store: Store, interval_s: float) -> None:
        self._presence = presence
        self._store = store
        self._interval_s = interval_s
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def run(self, scope: Scope) -> None:
        """Prove all tunnels each interval until stopping."""
        scope.ready()
        while await scope.pause(self._interval_s):
            async with asyncio.TaskGroup() as proofs:
                for tunnel in self._presence.all():
                    proofs.create_task(self._prove(tunnel))
            await self._note()
        for tunnel in self._presence.all():
            tunnel.bye(_DOWN_S + random.uniform(0, len(self._presence.all()) / _RETURNS_A_SECOND))  # noqa: S311 - a wait

    async def _prove(self, tunnel: Tunnel) -> None:
        async with self._at_once:
            await self._presence.prove(tunnel)

    async def _note(self) -> None:
        try:
            await self._store.appliances.seen([tunnel.name for tunnel in self._presence.all() if tunnel.online])
        except DatabaseError as error:
            say(WARNING, f"bastion: who was seen is not written down: {error.text}")
