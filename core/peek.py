"""Looking at a socket before its protocol begins: a PROXY header, the first octets that the other side says.

Used by the SMTP ports, the SSH listeners and the appliance's dialling. Takes from the socket exactly what belongs to
the header; everything else stays for whoever reads next, TLS included. The caller sets the deadline. Raises
`ProxyError`.
"""

import asyncio
import socket

from protocol.proxy import Ends, ProxyError, ProxyHeader

_PEEK = 2048


async def read_proxy_header(sock: socket.socket) -> Ends | None:
    """Take a PROXY header off a connection; None where the balancer speaks for itself. Raises `ProxyError`."""
    header = ProxyHeader()
    while not header.complete:
        await readable(sock)
        try:
            seen = sock.recv(_PEEK, socket.MSG_PEEK)
            if not seen:
                raise ProxyError("closed before its PROXY header")
            sock.recv(header.take(seen))
        except BlockingIOError:
            continue
    return header.ends


async def first_octets(sock: socket.socket, within_s: float, count: int = 8) -> bytes:
    """Give what a client says by itself, without taking it; nothing if it is silent for so long, or has closed."""
    try:
        async with asyncio.timeout(within_s):
            await readable(sock)
        return sock.recv(count, socket.MSG_PEEK)
    except (TimeoutError, BlockingIOError, ConnectionError):
        return b""


async def readable(sock: socket.socket) -> None:
    """Wait until a socket has something to read, or has been closed by the other side."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, _wake, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
