"""Ports whose connections cannot begin as they come: with a PROXY header, with a handshake, or both (RFC 8314).

The listener opens one where its settings or its door ask for that; ordinary ports are the loop's own servers. Each
connection has a task until its conversation can begin, and a deadline on each step; connections in that state count
to the listener's limit. The header is taken octet for octet, so that a handshake behind it finds its own.
"""

import asyncio
import contextlib
import socket
from typing import Any, Final, Protocol

from core.peek import read_proxy_header
from core.runtime import spawn
from core.smtp.admission import FULL, Admission
from core.smtp.connection import Connection, reset
from core.smtp.door import Door
from core.smtp.settings import ListenerSettings
from protocol.proxy import Ends, ProxyError
from protocol.smtp.conversation import Peer

ACCEPT_AGAIN_S: Final = 0.1
"""Pause after a connection could not be accepted."""


class Port(Protocol):
    """A port that takes connections until it is closed."""

    def close(self) -> None:
        """Take no more connections."""


async def open_port(admission: Admission, sock: socket.socket) -> Port:
    """Take connections from a listening socket, in the cheapest way that the listener's settings allow."""
    if admission.settings.implicit_tls or admission.door.speaks_proxy is not None:
        return SteppedPort(admission, sock)
    backlog = admission.settings.backlog
    return await admission.loop.create_server(lambda: Connection(admission), sock=sock, backlog=backlog)


def accept_waiting(admission: Admission, sock: socket.socket) -> None:
    """Take in who has come to a socket that is about to be closed."""
    last = SteppedPort(admission, sock.dup())
    last.accept_waiting()
    last.close()


class SteppedPort:
    """See the module."""

    def __init__(self, admission: Admission, sock: socket.socket) -> None:
        self._admission = admission
        self._sock = sock
        self._opening = 0
        self._again: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._again = None
        self._admission.loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Take no more connections."""
        if self._again is not None:
            self._again.cancel()
        self._admission.loop.remove_reader(self._sock)
        self._sock.close()

    def accept_waiting(self) -> None:
        """Accept all who have come and have not been accepted: when the socket closes, they would be reset."""
        with contextlib.suppress(OSError):
            while True:
                self._take(*self._sock.accept())

    def _accept(self) -> None:
        try:
            accepted = self._sock.accept()
        except OSError:
            # Gone again, or no descriptor left: asking again at once would turn the loop for nothing.
            self._admission.loop.remove_reader(self._sock)
            self._again = self._admission.loop.call_later(ACCEPT_AGAIN_S, self._listen)
            return
        self._take(*accepted)

    def _take(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        admission = self._admission
        limit = admission.settings.max_connections
        if 0 < limit <= len(admission.connections) + self._opening:
            if not admission.settings.implicit_tls:
                with contextlib.suppress(OSError):
                    sock.send(FULL)
            sock.close()
            return
        self._opening += 1
        opening = self._open(sock, str(address[0]), address[1], admission.settings, admission.door)
        spawn(opening, "opening a connection")

    async def _open(self, sock: socket.socket, host: str, port: int, settings: ListenerSettings, door: Door) -> None:
        try:
            await self._step_by_step(sock, host, port, settings, door)
        except (ProxyError, TimeoutError) as error:
            self._admission.note_opening(host, str(error) or "the PROXY header did not come in time")
            sock.close()
        except OSError as error:
            self._admission.note_opening(host, f"TLS failed: {getattr(error, 'reason', None) or error}")
            sock.close()
        finally:
            self._opening -= 1

    async def _step_by_step(
        self, sock: socket.socket, host: str, port: int, settings: ListenerSettings, door: Door
    ) -> None:
        """Go by what was in force when the connection came: it began as that port's connections begin."""
        admission = self._admission
        ends: Ends | None = None
        if door.speaks_proxy is not None and door.speaks_proxy(host):
            async with asyncio.timeout(settings.timeouts.handshake_s):
                ends = await read_proxy_header(sock)
        local = sock.getsockname()
        claimed = Peer(*ends) if ends is not None else Peer(host, port, local[0], local[1])
        peer = await door.enter(claimed)
        if peer is None:
            reset(sock)
            sock.close()
            return
        connection = Connection(admission, peer)
        if settings.implicit_tls:
            await admission.loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=admission.tls_context(),
                ssl_handshake_timeout=settings.timeouts.handshake_s,
            )
        else:
            await admission.loop.connect_accepted_socket(lambda: connection, sock)
