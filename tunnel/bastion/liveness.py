"""Proves every tunnel end to end from time to time, writes down who was seen, and says goodbye at the end.

The proofs of one round are spread over the interval: thousands at once would be noticed by engineers who type.
"""

import asyncio
import random

from core import clock
from core.database import DatabaseError
from core.diagnostic import WARNING, say
from core.lifecycle import Scope
from tunnel.bastion.presence import Presence, Tunnel
from tunnel.bastion.store import Store

_AT_ONCE = 20
_PIECES = 60
"""A round is cut into at most so many pieces."""
_RETURNS_A_SECOND = 100
"""So many appliances are asked back in a second when the bastion stops; each adds up to half of its wait to that."""
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
        self._in_proof: set[Tunnel] = set()
        self._noted_at = 0.0

    async def run(self, scope: Scope) -> None:
        """Prove all tunnels each interval until stopping."""
        scope.ready()
        while await self._round(scope):
            await self._note()
        for tunnel in self._presence.all():
            tunnel.bye(_DOWN_S + random.uniform(0, len(self._presence.all()) / _RETURNS_A_SECOND))  # noqa: S311 - a wait

    async def _round(self, scope: Scope) -> bool:
        """Prove every tunnel that is there now; false when the bastion is stopping."""
        tunnels = self._presence.all()
        pieces = max(1, min(_PIECES, len(tunnels)))
        for number in range(pieces):
            if not await scope.pause(self._interval_s / pieces):
                return False
            for tunnel in tunnels[number::pieces]:
                if tunnel not in self._in_proof and self._presence.get(tunnel.name) is tunnel:
                    self._in_proof.add(tunnel)
                    scope.start(self._prove(tunnel), name=f"proof of {tunnel.name}")
        return True

    async def _prove(self, tunnel: Tunnel) -> None:
        """Prove one; who does not answer holds up no round."""
        try:
            async with self._at_once:
                await self._presence.prove(tunnel)
        finally:
            self._in_proof.discard(tunnel)

    async def _note(self) -> None:
        """Write down who has answered since the last time."""
        since, self._noted_at = self._noted_at, clock.now()
        seen = [tunnel.name for tunnel in self._presence.all() if tunnel.online and tunnel.seen_at >= since]
        try:
            await self._store.appliances.seen(seen)
        except DatabaseError as error:
            say(WARNING, f"bastion: who was seen is not written down: {error.text}")
