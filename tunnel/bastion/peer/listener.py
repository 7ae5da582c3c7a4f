"""The listener for the other bastions: mutual TLS, one request a connection, everything bounded.

A node is who its certificate says and has a lease in the store. What it says of an engineer is checked against the
store here as well: a node that was taken over gets nothing for somebody who has no open, approved case with a grant
for the appliance. Every request is an audit line. The octets that are carried are not looked at.
"""

import asyncio
import socket
import ssl
from typing import Any

from core.diagnostic import incident
from core.errors import EX_CANTCREAT, EX_NOPERM, EX_UNAVAILABLE, GatepostError
from core.lifecycle import Scope
from core.runtime import spawn
from core.ssh import CertificateFacts, splice_to_channel
from tunnel.audit import AuditLog
from tunnel.bastion.entitlement import Entitlements
from tunnel.bastion.peer.directory import Directory
from tunnel.bastion.peer.link import TIMEOUT_S, refusal
from tunnel.bastion.peer.message import Answer, Certify, Drop, MessageError, Relay, Request, decode_request, encode
from tunnel.bastion.peer.wire import FirstFrame, node_of
from tunnel.bastion.presence import Presence
from tunnel.bastion.store import Store
from tunnel.config import CaseSection
from tunnel.identity import SERVICE_PORT, Engineer, engineer_of

_MOST = 1000
"""Connections of other nodes at once."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class PeerListener:
    """Answers the other nodes; a service."""

    name = "peers"

    def __init__(
        self,
        section: CaseSection,
        context: ssl.SSLContext,
        *,
        store: Store,
        presence: Presence,
        directory: Directory,
        entitlements: Entitlements,
        audit: AuditLog,
    ) -> None:
        self._place = (section.peer_address, section.peer_port)
        self._context = context
        self._store = store
        self._presence = presence
        self._directory = directory
        self._entitlements = entitlements
        self._audit = audit
        self._open: set[Any] = set()

    async def run(self, scope: Scope) -> None:
        """Listen until stopping, then cut what is open."""
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: _Asked(self), *self._place, ssl=self._context, ssl_handshake_timeout=TIMEOUT_S
            )
        except OSError as error:
            place = "{}:{}".format(*self._place)
            raise GatepostError(f"{place} for the other bastions: {error.strerror or error}", EX_CANTCREAT) from error
        scope.ready()
        await scope.stopping.wait()
        server.close()
        for wire in tuple(self._open):
            wire.transport.abort()

    def came(self, wire: "_Asked") -> None:
        """Take a connection of another node, or cut it where there are too many."""
        if len(self._open) >= _MOST:
            wire.transport.abort()
            return
        sock = wire.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        self._open.add(wire)
        spawn(self._serve(wire), "a request of another bastion")

    async def _serve(self, wire: "_Asked") -> None:
        """Answer one request; its connection stays only where it carries a channel."""
        kept = False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                request = decode_request(await wire.frame)
            kept = await self._answer(wire, request)
        except (OSError, MessageError):
            wire.transport.abort()
        finally:
            if not kept:
                self._open.discard(wire)
                wire.transport.close()

    async def _answer(self, wire: "_Asked", request: Request) -> bool:
        node = node_of(wire.transport)
        try:
            async with asyncio.timeout(3 * TIMEOUT_S):
                await self._known(node)
                if isinstance(request, Relay):
                    await self._relay(wire, node, request)
                    return True
                if isinstance(request, Certify):
                    answer = Answer(certificate=await self._certify(node, request))
                else:
                    answer = self._drop(node, request)
        except GatepostError as error:
            self._audit.note("peer-refused", node=node, serial=request.serial, why=error.text)
            answer = refusal(error.text)
        except TimeoutError:
            answer = refusal("this took too long")
        except Exception as error:  # one request never takes the listener down
            answer = refusal(f"internal error, incident {incident('a request of another bastion', error)}")
        wire.transport.write(encode(answer))
        return False

    async def _known(self, node: str) -> None:
        """Make sure that a node of this name is alive in the store."""
        if node == self._directory.node or all(one.name != node for one in await self._store.seats.nodes()):
            raise GatepostError(f"no bastion {node or 'without a name'} has a lease here", EX_NOPERM)

    async def _relay(self, wire: "_Asked", node: str, request: Relay) -> None:
        engineer = await self._entitled(request)
        tunnel = self._presence.get(request.serial)
        if tunnel is None:
            raise GatepostError(f"{request.serial.upper()} has no tunnel at {self._directory.node}", EX_UNAVAILABLE)
        facts = {"node": node, "serial": request.serial, "key_id": engineer.key_id}
        self._audit.write("peer-relay", **facts)

        def ended() -> None:
            self._open.discard(wire)
            self._audit.note("peer-relay-end", **facts)

        near = await splice_to_channel(tunnel.connection, (tunnel.name, SERVICE_PORT), (engineer.key_id, 0), ended)
        wire.transport.write(encode(Answer()))
        wire.hand_over(near)

    async def _certify(self, node: str, request: Certify) -> str:
        engineer = await self._entitled(request)
        grant = await self._entitlements.grant(engineer.case, request.serial)
        if grant.node not in ("", self._directory.node):
            raise GatepostError(f"{self._directory.node} has no such grant", EX_UNAVAILABLE)
        self._audit.write("peer-certify", node=node, serial=request.serial, key_id=engineer.key_id)
        return await self._entitlements.certificate(engineer, grant, request.public_key, forwarding=request.forwarding)

    def _drop(self, node: str, request: Drop) -> Answer:
        dropped = self._directory.drop(request.serial, request.connection, node)
        return Answer() if dropped else refusal("that connection is not here")

    async def _entitled(self, request: Relay | Certify) -> Engineer:
        """Check in the store that this engineer may work on this appliance now."""
        facts = CertificateFacts(request.key_id, 0, (request.serial,), 0.0, 0.0)
        engineer = engineer_of(facts)
        if engineer is None:
            raise GatepostError("the key id names no engineer and case", EX_NOPERM)
        await self._entitlements.of(engineer, request.serial, "")
        return engineer


class _Asked(FirstFrame):
    """The protocol of a connection that another node has opened."""

    def __init__(self, listener: PeerListener) -> None:
        super().__init__()
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._listener.came(self)
