"""This node's part of the directory: its lease, the seats of its tunnels, and where the others' tunnels are.

A tunnel that takes its name here is seated here; the node that had the seat is told, and finds out by itself at its
next look if it does not hear. While the database is away, tunnels that are here go on, and what changed meanwhile is
entered when it is back. Runs on one bastion alone as well: the store then shows which appliances are connected.
"""

import asyncio
import secrets

import msgspec

from core import clock
from core.database import DatabaseError
from core.diagnostic import INFO, WARNING, say
from core.errors import EX_UNAVAILABLE, GatepostError
from core.lifecycle import Scope
from core.runtime import spawn
from tunnel.audit import AuditLog
from tunnel.bastion.peer.link import Elsewhere, Links
from tunnel.bastion.peer.message import Certify, Drop
from tunnel.bastion.presence import Presence, Tunnel
from tunnel.bastion.store import Grant, Node, Seat, Store
from tunnel.config import CaseSection

_LAST_S = 2.0
"""For giving the lease up at the end."""


class Directory:
    """Keeps this node's entries; a service."""

    name = "directory"

    def __init__(
        self, section: CaseSection, store: Store, presence: Presence, audit: AuditLog, links: Links | None
    ) -> None:
        """Without links the other nodes' tunnels are known and cannot be reached."""
        self._store = store
        self._presence = presence
        self._audit = audit
        self._links = links
        self._life_s = section.presence_s
        address = f"{section.peer_address}:{section.peer_port}" if section.peer_port else ""
        self._node = Node(name=section.node.lower(), epoch=secrets.token_hex(8), address=address, until_at=0.0)
        self._seated: dict[str, str] = {}
        """Serial and connection of what the store has as ours."""
        self._away = False
        presence.watchers.append(self._noticed)

    @property
    def node(self) -> str:
        """The name of this node."""
        return self._node.name

    async def run(self, scope: Scope) -> None:
        """Renew the lease in a third of its life each time, until stopping; then give it up."""
        await self._look()
        scope.ready()
        while await scope.pause(self._life_s / 3):
            await self._look()
        try:
            async with asyncio.timeout(_LAST_S):
                await self._store.seats.lease(self._until(clock.now()))
        except (DatabaseError, TimeoutError) as error:
            say(WARNING, f"the lease of {self.node} runs out by itself: {error}")

    async def elsewhere(self, serial: str) -> Elsewhere | None:
        """Give the tunnel of an appliance at another node; None if no node has it. Raises GatepostError."""
        seat = await self._store.seats.of(serial)
        if seat is None or seat.node == self.node:
            return None
        return Elsewhere(self._linked(seat.node, serial), seat.node, seat.peer_address, serial, self._audit)

    async def certify(self, grant: Grant, public_key: str, key_id: str, forwarding: bool) -> str:
        """Get a certificate by a grant that another node's keyd has."""
        address = next((one.address for one in await self._store.seats.nodes() if one.name == grant.node), "")
        request = Certify(serial=grant.serial, key_id=key_id, public_key=public_key, forwarding=forwarding)
        return await self._linked(grant.node, grant.serial).certify(grant.node, address, request)

    def _linked(self, node: str, serial: str) -> Links:
        if self._links is None:
            raise GatepostError(
                f"{serial.upper()} is served by the bastion {node}, and this one has no peer_port: go there",
                EX_UNAVAILABLE,
            )
        return self._links

    def _noticed(self, tunnel: Tunnel, came: bool) -> None:
        """Take note of a tunnel that took or gave back its name."""
        spawn(self._enter(tunnel) if came else self._strike(tunnel), f"seat of {tunnel.name}")

    async def _enter(self, tunnel: Tunnel) -> None:
        try:
            former = await self._store.seats.take(self._node, tunnel.name, tunnel.connection_id)
        except DatabaseError:
            return  # the next look enters it
        self._seated[tunnel.name] = tunnel.connection_id
        if former is not None and former.node != self.node:
            await self._tell(former)

    async def _tell(self, former: Seat) -> None:
        """Have the node that an appliance has left end its old tunnel."""
        self._audit.note("takeover", serial=former.serial, node=former.node, by=self.node)
        if self._links is not None and former.peer_address:
            drop = Drop(serial=former.serial, connection=former.connection)
            await self._links.drop(former.node, former.peer_address, drop)

    async def _strike(self, tunnel: Tunnel) -> None:
        if self._seated.get(tunnel.name) == tunnel.connection_id:
            del self._seated[tunnel.name]
        try:
            await self._store.seats.leave(tunnel.name, tunnel.connection_id)
        except DatabaseError:
            return  # the next look leaves it out

    async def _look(self) -> None:
        """Renew the lease, and bring table and store together."""
        try:
            await self._store.seats.lease(self._until(clock.now() + self._life_s))
            await self._compare()
        except DatabaseError as error:
            if not self._away:
                self._away = True
                say(WARNING, f"{error.text}; tunnels that are open go on, nobody new is let in")
            return
        if self._away:
            self._away = False
            say(INFO, "the bastion's database answers again")

    async def _compare(self) -> None:
        held = {tunnel.name: tunnel for tunnel in self._presence.all()}
        for tunnel in held.values():
            if self._seated.get(tunnel.name) != tunnel.connection_id:
                newer = await self._store.seats.keep(self._node, tunnel.name, tunnel.connection_id, tunnel.since_at)
                if newer is None:
                    self._seated[tunnel.name] = tunnel.connection_id
                else:
                    self._lost(tunnel, newer.node)
        pairs = [(name, connection) for name, connection in self._seated.items() if name in held]
        for name in await self._store.seats.lost(self._node, pairs):
            tunnel = held[name]
            if self._presence.get(name) is tunnel and self._seated.get(name) == tunnel.connection_id:
                self._lost(tunnel, "another bastion")

    def _lost(self, tunnel: Tunnel, node: str) -> None:
        self._audit.note("taken-over", serial=tunnel.name, node=node)
        self._presence.close(tunnel, "a newer connection of this appliance has come to another bastion")

    def drop(self, serial: str, connection: str, node: str) -> bool:
        """End a tunnel whose appliance has come to another node; false if that connection is not here."""
        tunnel = self._presence.get(serial)
        if tunnel is None or tunnel.connection_id != connection:
            return False
        self._lost(tunnel, node)
        return True

    def _until(self, until_at: float) -> Node:
        return msgspec.structs.replace(self._node, until_at=until_at)
