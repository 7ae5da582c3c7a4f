"""From an accepted socket to the beginning of SSH: who really comes, whether in TLS, and farewells before the login.

Behind a listed balancer the PROXY header says who comes. On a shared port (443, 80) a client may begin with TLS, with
HTTP, or with nothing: the last is plain SSH, where the server speaks first. Called by `core/ssh/server.py`.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from core.peek import first_octets, read_proxy_header, readable
from core.ssh.admission import Networks

ALPN = "ssh"
LINGER_S = 1.0
_HEADER_S = 5.0
_TLS = 0x16
_METHODS = (b"GET", b"POST", b"CONNECT", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"PATCH", b"PRI")
_PAGE = b"This is an SSH server, not a web server. Speak SSH here, or SSH in TLS with the ALPN name ssh.\n"
_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=us-ascii\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
)
_DISCONNECT, _TOO_MANY = 1, 12


@dataclass(frozen=True, slots=True)
class Entrance:
    """How connections may begin on the endpoints of one listener. By itself: with SSH."""

    proxies: Networks = ()
    """Peers whose connections begin with a PROXY header."""
    shared_ports: frozenset[int] = frozenset()
    """Ports on which a client may also begin with TLS or HTTP."""
    tls: Callable[[], ssl.SSLContext] | None = None
    look_s: float = 0.3
    """How long a shared port waits for the client's first octet before the server speaks."""

    def introduces(self, host: str) -> bool:
        """Tell whether a peer speaks for others."""
        if not self.proxies or not host:
            return False
        address = ip_address(host.partition("%")[0])
        return any(address in network for network in self.proxies)

    async def begins(self, sock: socket.socket, port: int) -> str:
        """Tell what a client begins with: `ssh`, `tls` or `http`."""
        if port not in self.shared_ports:
            return "ssh"
        seen = await first_octets(sock, self.look_s)
        if seen[:1] == bytes([_TLS]):
            return "tls" if self.tls is not None else "ssh"
        return "http" if seen.startswith(_METHODS) else "ssh"


async def introduced(sock: socket.socket) -> tuple[str, int] | None:
    """Read who comes through a balancer; None if the balancer itself does. Raises ProxyError or TimeoutError."""
    async with asyncio.timeout(_HEADER_S):
        ends = await read_proxy_header(sock)
    return None if ends is None else (ends.host, ends.port)


async def refuse_http(sock: socket.socket) -> None:
    """Answer a web client with a short page."""
    with suppress(OSError):
        sock.send(_HTTP)
    await linger(sock)


def busy(version: str, seconds: int, why: str = "busy") -> bytes:
    """Give what tells a client before any key exchange to come back later: our version and a disconnect."""
    reason = f"{why}, come back in {seconds} s".encode()
    payload = bytes([_DISCONNECT]) + _TOO_MANY.to_bytes(4, "big")
    payload += len(reason).to_bytes(4, "big") + reason + (0).to_bytes(4, "big")
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    packet = (len(payload) + padding + 1).to_bytes(4, "big") + bytes([padding]) + payload + bytes(padding)
    return f"SSH-2.0-{version}\r\n".encode() + packet


async def linger(sock: socket.socket) -> None:
    """Close a socket so that what was sent still arrives: unread octets would make the close a reset."""
    try:
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(LINGER_S):
            while True:
                await readable(sock)
                if not sock.recv(4096):
                    break
    except (OSError, TimeoutError):
        pass
    finally:
        sock.close()
