"""A connection on which the bastion's banner has been seen, to be handed to SSH.

asyncssh takes it for a tunnel: it has `create_connection`. Plain TCP stays a socket with the banner still in it
(it was only peeked at). TLS has been spoken already; there the octets that came are passed on. Made by `road.py`.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

from core.peek import readable
from tunnel.appliance.verdict import OUR_BANNER

PEEK = 255
"""Octets of a banner that are looked at; RFC 4253 4.2 allows no more."""
_SETTLE_S = 0.1


class Wire:
    """One connection, owned by whoever holds it until SSH has it."""

    def __init__(self, sock: socket.socket | None, greeter: "Greeter | None" = None) -> None:
        self._sock = sock
        self._greeter = greeter
        transport = greeter.transport if greeter is not None else None
        sock = transport.get_extra_info("socket") if transport is not None else sock
        self.local: str = sock.getsockname()[0] if sock is not None and sock.family != socket.AF_UNIX else ""
        """Our address on this connection."""

    async def create_connection(self, factory: Callable[[], Any], _host: str, _port: int) -> tuple[Any, Any]:
        """Let SSH speak on it; called by asyncssh."""
        greeter, self._greeter = self._greeter, None
        sock, self._sock = self._sock, None
        if greeter is not None:
            return greeter.hand_over(factory())
        if sock is None:
            raise ConnectionError("this connection has been used")
        return await asyncio.get_running_loop().create_connection(factory, sock=sock)

    def close(self) -> None:
        """Close it, unless SSH has it."""
        greeter, self._greeter = self._greeter, None
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()
        if greeter is not None:
            greeter.transport.abort()


class Greeter(asyncio.Protocol):
    """Collects the first octets on a TLS connection, a bounded number, until SSH takes over."""

    transport: Any = None

    def __init__(self) -> None:
        self.seen = b""
        self.ended = False
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.seen += data
        if len(self.seen) > PEEK:
            # Nothing is lost: reading goes on when SSH has taken over.
            self.transport.pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self.ended = True
        self._news.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._news.set()

    async def banner(self) -> bytes:
        """Wait for the first line and give what has come; b"" if the connection ended before."""
        while not self.ended and not complete(self.seen):
            self._news.clear()
            await self._news.wait()
        return self.seen

    def hand_over(self, protocol: Any) -> tuple[Any, Any]:
        """Give the connection to another protocol, with the octets that have come."""
        if self.ended:
            raise ConnectionResetError("the connection has ended")
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self.seen:
            protocol.data_received(self.seen)
        self.transport.resume_reading()
        return self.transport, protocol


def complete(seen: bytes) -> bool:
    """Tell whether enough was seen to name who speaks."""
    if b"\n" in seen or len(seen) >= PEEK:
        return True
    # What cannot become our banner any more needs no whole line.
    return bool(seen) and not OUR_BANNER.startswith(seen[: len(OUR_BANNER)])


async def peek_banner(sock: socket.socket) -> bytes:
    """Wait for the first line that the peer says and give it, leaving it in the socket; b"" if it closed."""
    while True:
        await readable(sock)
        first = sock.recv(PEEK, socket.MSG_PEEK)
        if not first or b"\n" in first or len(first) >= PEEK:
            return first
        # The socket stays readable while bytes lie in it: give the rest of the line a moment to arrive.
        await asyncio.sleep(_SETTLE_S)
        if complete(first):
            return sock.recv(PEEK, socket.MSG_PEEK)


def seen_so_far(sock: socket.socket) -> bytes:
    """Give what lies in a socket now, leaving it there."""
    with contextlib.suppress(OSError):
        return sock.recv(PEEK, socket.MSG_PEEK)
    return b""
