"""How the bastion enters an appliance for an engineer: through its tunnel, as `service`, with a key of the moment.

A second appliance, which has no tunnel of its own, is entered through the service login of the first: the second
connection runs inside the first one and is checked end to end, so the first appliance carries bytes that it cannot
read. Host keys come from the store, never from the peer. Raises GatepostError with a line for the engineer.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import asyncssh

from core.errors import EX_UNAVAILABLE, GatepostError
from core.ssh import client_options, dial, known_hosts_line, make_key, public_text, translated
from tunnel.bastion.entitlement import Denied, Entitled, Entitlements
from tunnel.bastion.presence import Presence
from tunnel.bastion.store import Grant, Store
from tunnel.identity import SERVICE_PORT, SERVICE_USER, Engineer

VERSION = "GatepostBastion_1.0"


@dataclass(frozen=True, slots=True)
class Reached:
    """A login on an appliance, and those it runs through, the outermost last."""

    connection: asyncssh.SSHClientConnection
    through: tuple[asyncssh.SSHClientConnection, ...] = ()

    def close(self) -> None:
        """End it, in order."""
        self.connection.close()
        for one in self.through:
            one.close()

    def abort(self) -> None:
        """End it at once."""
        self.connection.abort()
        for one in self.through:
            one.abort()


class Carrier(Protocol):
    """A tunnel, here or at another node."""

    @property
    def name(self) -> str:
        """The appliance's serial."""

    @property
    def connection(self) -> Any:
        """Opens channels to the appliance: `create_connection(factory, host, port, originator, its port)`."""


Elsewhere = Callable[[str], Awaitable[Carrier | None]]
"""Finds what stands for the tunnel of an appliance that another node holds; None if none does."""


class Way:
    """Enters appliances."""

    def __init__(
        self,
        store: Store,
        presence: Presence,
        entitlements: Entitlements,
        *,
        timeout_s: float,
        keepalive_s: float,
        hop_port: int = SERVICE_PORT,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._store = store
        self._presence = presence
        self._entitlements = entitlements
        self._timeout_s = timeout_s
        self._keepalive_s = keepalive_s
        self._hop_port = hop_port
        self._elsewhere = elsewhere

    async def reach(self, engineer: Engineer, entitled: Entitled) -> Reached:
        """Log in on the appliance, directly or through another one of the case."""
        if not entitled.via:
            over = Through(await self.tunnel(entitled.serial), engineer.key_id)
            return Reached(await self._log_in(engineer, entitled.serial, entitled.grant, over))
        first_grant = await self._entitlements.grant(engineer.case, entitled.via)
        over = Through(await self.tunnel(entitled.via), engineer.key_id)
        first = await self._log_in(engineer, entitled.via, first_grant, over, forwarding=True)
        try:
            hop = _Hop(first, entitled.row.address, self._hop_port)
            second = await self._log_in(engineer, entitled.serial, entitled.grant, hop)
        except BaseException:
            first.abort()
            raise
        return Reached(second, (first,))

    async def tunnel(self, serial: str) -> Carrier:
        """Give the tunnel of an appliance, or what stands for it on another node. Raises GatepostError (69)."""
        tunnel: Carrier | None = self._presence.get(serial)
        if tunnel is None and self._elsewhere is not None:
            tunnel = await self._elsewhere(serial)
        if tunnel is None:
            raise GatepostError(await self.absent(serial), EX_UNAVAILABLE)
        return tunnel

    async def absent(self, serial: str) -> str:
        """Say that an appliance has no tunnel, and when it was last seen."""
        enrolled = await self._store.appliances.get(serial)
        if enrolled is None:
            return f"{serial.upper()} is not enrolled here"
        return f"{serial.upper()} has no tunnel open{seen(enrolled.last_seen_at)}"

    async def _log_in(
        self, engineer: Engineer, serial: str, grant: Grant, over: Any, *, forwarding: bool = False
    ) -> asyncssh.SSHClientConnection:
        enrolled = await self._store.appliances.get(serial)
        if enrolled is None:
            raise Denied("unknown", f"{serial.upper()} is not enrolled here")
        key = make_key()
        certificate = await self._entitlements.certificate(engineer, grant, public_text(key), forwarding=forwarding)
        options = client_options(
            SERVICE_USER,
            known_hosts_line(serial, enrolled.host_key),
            host_key_alias=serial,
            keys=[(key, asyncssh.import_certificate(certificate))],
            version=VERSION,
            connect_timeout_s=self._timeout_s,
            login_timeout_s=self._timeout_s,
            keepalive_s=self._keepalive_s,
        )
        with translated(serial.upper(), SERVICE_USER):
            return await dial(None, over, options)


def seen(at: float) -> str:
    """Give when an appliance was last seen, to stand behind its name."""
    if not at:
        return "; it was never seen"
    return f"; it was last seen {time.strftime('%Y-%m-%d %H:%M', time.gmtime(at))} UTC"


class Through:
    """Lets asyncssh dial an appliance's console through its tunnel."""

    def __init__(self, tunnel: Carrier, origin: str) -> None:
        self._tunnel = tunnel
        self._origin = origin

    async def create_connection(self, factory: Any, host: str, port: int) -> Any:
        """Open the forwarded channel; host and port are the tunnel's own, whatever is asked for."""
        return await self._tunnel.connection.create_connection(
            factory, self._tunnel.name, SERVICE_PORT, self._origin, 0
        )

    def close(self) -> None:
        """The tunnel is not ours to close."""

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


class _Hop:
    """Lets asyncssh dial a second appliance from the first one's service login."""

    def __init__(self, connection: asyncssh.SSHClientConnection, address: str, port: int) -> None:
        self._connection = connection
        self._address = address
        self._port = port

    async def create_connection(self, factory: Any, host: str, port: int) -> Any:
        """Open the forwarded channel to the address that the case names, whatever is asked for."""
        return await self._connection.create_connection(factory, self._address, self._port)

    def close(self) -> None:
        """Who made the connection closes it."""

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""
