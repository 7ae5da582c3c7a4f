"""Which appliances hold a tunnel now, and whether anybody answers at its far end.

The newest authenticated connection of a serial wins: after a break of the network the old one would otherwise
hold the name until its keepalive dies. Online means that the inner SSH banner was read through the tunnel,
not that a connection stands. Used by both sides of the bastion. Logs to the audit.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import asyncssh

from core import clock
from core.runtime import spawn
from core.ssh import Half
from tunnel.audit import AuditLog
from tunnel.identity import LIVENESS_ORIGIN, SERVICE_PORT

FIRST_PROOFS_S = (0.0, 0.05, 0.2, 1.0, 3.0, 10.0)
"""Waits before the attempts to prove a new tunnel."""


@dataclass(slots=True, eq=False)
class Tunnel:
    """One appliance's connection that holds its name."""

    name: str
    connection: asyncssh.SSHServerConnection
    source: str
    port: int
    since_at: float
    seen_at: float = 0.0
    """When the inner banner was last read; 0 until then."""
    online: bool = False


class Presence:
    """The table of tunnels."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._tunnels: dict[str, Tunnel] = {}

    def take(self, tunnel: Tunnel) -> None:
        """Enter a tunnel; a former one of the same name is closed."""
        former = self._tunnels.get(tunnel.name)
        self._audit.write("tunnel", serial=tunnel.name, source=tunnel.source, port=tunnel.port)
        self._tunnels[tunnel.name] = tunnel
        if former is not None:
            self._audit.note("takeover", serial=tunnel.name, source=former.source, by=tunnel.source)
            spawn(_close(former.connection), f"takeover of {tunnel.name}")

    def leave(self, tunnel: Tunnel) -> None:
        """Remove a tunnel, unless another one has taken its place."""
        if self._tunnels.get(tunnel.name) is tunnel:
            del self._tunnels[tunnel.name]
            self._audit.note("tunnel-end", serial=tunnel.name, source=tunnel.source)

    def get(self, name: str) -> Tunnel | None:
        """Give the tunnel of an appliance."""
        return self._tunnels.get(name)

    def all(self) -> list[Tunnel]:
        """Give all tunnels, by name."""
        return sorted(self._tunnels.values(), key=lambda tunnel: tunnel.name)

    async def prove(self, tunnel: Tunnel, timeout_s: float = 10) -> bool:
        """Open a channel to the far end and read the inner SSH banner; gives and notes whether it was there."""
        banner = _Banner()
        try:
            async with asyncio.timeout(timeout_s):
                await tunnel.connection.create_connection(lambda: banner, tunnel.name, SERVICE_PORT, LIVENESS_ORIGIN, 0)
                online = (await banner.first).startswith(b"SSH-2.0-")
        except (OSError, asyncssh.Error):
            online = False
        finally:
            banner.close()
        if online:
            tunnel.seen_at = clock.now()
        if online is not tunnel.online:
            tunnel.online = online
            self._audit.note("online" if online else "offline", serial=tunnel.name)
        return online

    async def prove_new(self, tunnel: Tunnel) -> None:
        """Prove a tunnel that has just been entered.

        The appliance listens on its name only after it has read our answer, so the first channel may be refused.
        """
        for wait_s in FIRST_PROOFS_S:
            await asyncio.sleep(wait_s)
            if self.get(tunnel.name) is not tunnel or await self.prove(tunnel):
                return

    def shown(self) -> list[dict[str, Any]]:
        """Answer the verb `tunnels`."""
        return [
            {
                "serial": tunnel.name,
                "online": tunnel.online,
                "since": tunnel.since_at,
                "last_seen_at": tunnel.seen_at or None,
                "source": tunnel.source,
                "port": tunnel.port,
            }
            for tunnel in self.all()
        ]


class _Banner(Half):
    """Keeps the first octets that the far end says."""

    def __init__(self) -> None:
        super().__init__()
        self.first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        if not self.first.done():
            self.first.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.first.done():
            self.first.set_result(b"")
        super().connection_lost(exc)


async def _close(connection: asyncssh.SSHServerConnection) -> None:
    connection.disconnect(asyncssh.DISC_BY_APPLICATION, "a newer connection of this appliance has taken over")
    # A peer that is gone never reads the farewell: do not keep its socket until the keepalive gives up.
    await asyncio.sleep(1)
    connection.abort()
