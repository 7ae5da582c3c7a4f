"""Which appliances hold a tunnel now, and whether anybody answers at its far end.

The newest authenticated connection of a serial wins: after a break of the network the old one would otherwise
hold the name until its keepalive dies. Online means that the inner SSH banner was read through the tunnel,
not that a connection stands. Used by both sides of the bastion. Logs to the audit.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from core import clock
from core.metrics import Counters
from core.runtime import spawn
from core.ssh import Half
from tunnel.audit import AuditLog
from tunnel.bastion.store import Publication
from tunnel.identity import LIVENESS_ORIGIN, SERVICE_PORT

FIRST_PROOFS_S = (0.0, 0.05, 0.2, 1.0, 3.0, 10.0)
"""Waits before the attempts to prove a new tunnel."""


def _nothing(_retry_after_s: float) -> None:
    return


@dataclass(slots=True, eq=False)
class Tunnel:
    """One appliance's connection that holds its name."""

    name: str
    connection: asyncssh.SSHServerConnection
    source: str
    port: int
    since_at: float
    connection_id: str = ""
    """Tells one connection of the appliance from the next."""
    series: str = ""
    key: str = ""
    """The enrolled key with which it logged in."""
    until_at: float = 0.0
    """When the bastion ends it on its own clock; 0 for one that did not register."""
    told: Publication | None = None
    """What the appliance said of its activation; None for one that did not register."""
    bye: Callable[[float], None] = _nothing
    """Tells the appliance that this end is going to close, and after how many seconds to come back."""
    seen_at: float = 0.0
    """When the inner banner was last read; 0 until then."""
    online: bool = False


Watcher = Callable[[Tunnel, bool], None]
"""Told each tunnel that takes its name (True) or gives it back (False)."""


class Presence:
    """The table of tunnels."""

    def __init__(self, audit: AuditLog, counters: Counters) -> None:
        self._audit = audit
        self._counters = counters
        self._tunnels: dict[str, Tunnel] = {}
        self._ending: dict[str, Tunnel] = {}
        """Run out: no new connections, the ones that are open go on."""
        self.watchers: list[Watcher] = []

    def take(self, tunnel: Tunnel) -> None:
        """Enter a tunnel; a former one of the same name is closed."""
        former = self._tunnels.get(tunnel.name)
        self._audit.write(
            "tunnel", serial=tunnel.name, source=tunnel.source, port=tunnel.port, registered=tunnel.told is not None
        )
        self._tunnels[tunnel.name] = tunnel
        self._counters.add("tunnels_opened")
        for watcher in self.watchers:
            watcher(tunnel, True)
        if former is not None:
            self._counters.add("takeovers")
            self._audit.note("takeover", serial=tunnel.name, source=former.source, by=tunnel.source)
            self.close(former, "a newer connection of this appliance has taken over")

    def leave(self, tunnel: Tunnel) -> None:
        """Remove a tunnel, unless another one has taken its place."""
        if self._ending.get(tunnel.name) is tunnel:
            del self._ending[tunnel.name]
        if self._tunnels.get(tunnel.name) is tunnel:
            del self._tunnels[tunnel.name]
            self._audit.note("tunnel-end", serial=tunnel.name, source=tunnel.source)
            for watcher in self.watchers:
                watcher(tunnel, False)

    def close(self, tunnel: Tunnel, why: str) -> None:
        """End a tunnel's connection with all that it carries."""
        self.leave(tunnel)
        spawn(_close(tunnel.connection, why), f"closing the tunnel of {tunnel.name}")

    def run_out(self, now: float) -> None:
        """Let tunnels whose time is over take nothing new, and close those that carry nothing any more."""
        for tunnel in self.all():
            if tunnel.until_at and tunnel.until_at <= now:
                self.leave(tunnel)
                self._ending[tunnel.name] = tunnel
                self._audit.note("tunnel-run-out", serial=tunnel.name, until_at=tunnel.until_at)
        for tunnel in tuple(self._ending.values()):
            if not carries(tunnel):
                self.close(tunnel, "this activation has run out")

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
        except (OSError, asyncssh.Error, AssertionError):  # the library asserts that the connection is still there
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
                "series": tunnel.series,
                "registered": tunnel.told is not None,
                "until": tunnel.until_at or None,
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


def carries(tunnel: Tunnel) -> bool:
    """Tell whether channels to the appliance are open."""
    channels = tunnel.connection._channels.values()
    return any(isinstance(channel, asyncssh.SSHTCPChannel) for channel in channels)


async def _close(connection: asyncssh.SSHServerConnection, why: str) -> None:
    connection.disconnect(asyncssh.DISC_BY_APPLICATION, why)
    # A peer that is gone never reads the farewell: do not keep its socket until the keepalive gives up.
    await asyncio.sleep(1)
    connection.abort()
