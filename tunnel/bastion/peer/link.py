"""Asking another bastion: for the channel to an appliance, for a certificate, to drop a tunnel.

`Elsewhere` is what the engineers' side takes for a tunnel when the appliance is at another node. Every question
has a connection of its own and is bounded in time. Raises GatepostError (69) with one line, and for a channel
`asyncssh.ChannelOpenError`, as a tunnel of our own would.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import asyncssh

from core.diagnostic import WARNING, say
from core.errors import EX_UNAVAILABLE, GatepostError
from tunnel.audit import AuditLog
from tunnel.bastion.peer.message import (
    Answer,
    Certify,
    Drop,
    MessageError,
    Relay,
    Request,
    decode_answer,
    encode,
)
from tunnel.bastion.peer.wire import FirstFrame

TIMEOUT_S = 10.0
_REFUSED = asyncssh.OPEN_CONNECT_FAILED


class Links:
    """The way from this node to the others."""

    def __init__(self, context: ssl.SSLContext, timeout_s: float = TIMEOUT_S) -> None:
        self._context = context
        self._timeout_s = timeout_s

    async def relay(self, node: str, address: str, request: Relay) -> FirstFrame:
        """Open the channel to an appliance at a node; the connection waits to be taken over."""
        return await self._ask(node, address, request, keep=True)

    async def drop(self, node: str, address: str, request: Drop) -> None:
        """Tell a node that it has lost an appliance. A node that does not answer finds out by itself."""
        try:
            await self._ask(node, address, request)
        except GatepostError as error:
            say(WARNING, f"{request.serial} was taken over from {node}, which was not told: {error.text}")

    async def certify(self, node: str, address: str, request: Certify) -> str:
        """Have a key signed by a node's keyd; gives the certificate."""
        asked = await self._ask(node, address, request)
        return decode_answer(asked.frame.result()).certificate

    async def _ask(self, node: str, address: str, request: Request, *, keep: bool = False) -> FirstFrame:
        if not address:
            raise GatepostError(f"{node} has no peer_port, so nothing can be asked of it", EX_UNAVAILABLE)
        wire: FirstFrame | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                wire = await self._connected(node, address)
                wire.transport.write(encode(request))
                answer = decode_answer(await wire.frame)
        except (OSError, ssl.SSLError, MessageError) as error:
            if wire is not None:
                wire.transport.abort()
            why = "did not answer in time" if isinstance(error, TimeoutError) else str(error)
            raise GatepostError(f"the bastion {node} at {address}: {why}", EX_UNAVAILABLE) from error
        if answer.why or not keep:
            wire.transport.close()
        if answer.why:
            raise GatepostError(answer.why, EX_UNAVAILABLE)
        return wire

    async def _connected(self, node: str, address: str) -> FirstFrame:
        host, _, port = address.rpartition(":")
        _, wire = await asyncio.get_running_loop().create_connection(
            FirstFrame,
            host.strip("[]"),
            int(port),
            ssl=self._context,
            server_hostname=node,
            ssl_handshake_timeout=self._timeout_s,
        )
        return wire


class Elsewhere:
    """An appliance's tunnel at another node, used as one of our own is: `name` and `connection.create_connection`."""

    def __init__(self, links: Links, node: str, address: str, name: str, audit: AuditLog) -> None:
        self.name = name
        self.node = node
        self._links = links
        self._address = address
        self._audit = audit

    @property
    def connection(self) -> "Elsewhere":
        """The connection that channels are opened on: this object itself."""
        return self

    async def create_connection(
        self, factory: Callable[[], Any], _host: str, _port: int, orig_host: str = "", _orig_port: int = 0
    ) -> tuple[Any, Any]:
        """Open a channel to the appliance for the engineer whose key id stands as the originator."""
        self._audit.write("peer-asked", node=self.node, serial=self.name, key_id=orig_host)
        try:
            wire = await self._links.relay(self.node, self._address, Relay(serial=self.name, key_id=orig_host))
        except GatepostError as error:
            raise asyncssh.ChannelOpenError(_REFUSED, error.text) from error
        protocol = factory()
        wire.hand_over(protocol)
        return wire.transport, protocol


def refusal(text: str) -> Answer:
    """Give the answer that says no."""
    return Answer(why=text[:400] or "no")
