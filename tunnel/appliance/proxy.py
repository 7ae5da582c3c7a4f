"""Reach a host by name through a proxy: HTTP CONNECT (RFC 9110 9.3.6) or SOCKS5 (RFC 1928, 1929).

`dialled` speaks to the proxy on a connected socket and leaves it where the bastion's first octet begins. The proxy
resolves the name. What it says is bounded. Raises `ProxyFailed` with the verdict, `OSError` if the connection ends.
Credentials come from a file, never from the configuration or a command line.
"""

import asyncio
import base64
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import EX_CONFIG, GatepostError
from core.peek import readable
from tunnel.appliance.verdict import PROXY_FOREIGN, PROXY_LOGIN, PROXY_REFUSED, Verdict, printable

_HEAD_LIMIT = 16 * 1024
_POLL_S = 0.02
_SOCKS_REASONS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time-out",
    7: "command not known",
    8: "address type not known",
}


class ProxyFailed(Exception):
    """The proxy gave no connection; carries what to tell the administrator."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(detail)
        self.verdict = verdict
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy as configured."""

    kind: str
    """`http` or `socks5`."""
    host: str
    port: int
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.kind}://{self.host}:{self.port})"


def proxy_of(url: str, credentials: Path | None) -> Proxy | None:
    """Read `http://HOST:PORT` or `socks5://HOST:PORT`; '' is none. Raises status 78, for the credentials too."""
    if not url:
        return None
    parts = urlsplit(url)
    user, password = _credentials(credentials) if credentials is not None else ("", "")
    return Proxy(parts.scheme, parts.hostname or "", parts.port or 0, user, password)


def _credentials(path: Path) -> tuple[str, str]:
    try:
        line = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text"
        raise GatepostError(f"{path}: the proxy's credentials cannot be read: {reason}", EX_CONFIG) from error
    user, colon, password = line.partition(":")
    if not colon or not user or "\n" in line or len(user.encode()) > 255 or len(password.encode()) > 255:
        raise GatepostError(f"{path}: the proxy's credentials are one line USER:PASSWORD", EX_CONFIG)
    return user, password


async def dialled(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy at the other end of a socket connect to host and port."""
    if proxy.kind == "socks5":
        await _socks5(sock, proxy, host, port)
    else:
        await _connect(sock, proxy, host, port)


async def _connect(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}", "User-Agent: Gatepost"]
    if proxy.user:
        word = base64.b64encode(f"{proxy.user}:{proxy.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {word}")
    await asyncio.get_running_loop().sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode())
    head = await _head(sock)
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if not head.startswith(b"HTTP/1.") or len(status) < 2:
        raise ProxyFailed(PROXY_FOREIGN, printable(head))
    if status[1] in (b"407", b"401"):  # tinyproxy says 401 to credentials that are wrong
        raise ProxyFailed(PROXY_LOGIN, printable(head))
    if not (len(status[1]) == 3 and status[1].startswith(b"2")):
        raise ProxyFailed(PROXY_REFUSED, printable(head))


async def _head(sock: socket.socket) -> bytes:
    """Take the head of an answer out of the socket, and not one octet more."""
    while True:
        seen = await _peek(sock)
        end = seen.find(b"\r\n\r\n")
        if end >= 0:
            return await _exactly(sock, end + 4)
        if len(seen) >= _HEAD_LIMIT or (len(seen) >= 7 and not seen.startswith(b"HTTP/1.")):
            raise ProxyFailed(PROXY_FOREIGN, printable(seen))
        await asyncio.sleep(_POLL_S)


async def _peek(sock: socket.socket) -> bytes:
    await readable(sock)
    seen = sock.recv(_HEAD_LIMIT, socket.MSG_PEEK)
    if not seen:
        raise ConnectionResetError("the proxy closed the connection")
    return seen


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts = b""
    while len(parts) < size:
        part = await loop.sock_recv(sock, size - len(parts))
        if not part:
            raise ConnectionResetError("the proxy closed the connection")
        parts += part
    return parts


async def _socks5(sock: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    methods = b"\x00\x02" if proxy.user else b"\x00"
    await loop.sock_sendall(sock, b"\x05" + bytes([len(methods)]) + methods)
    version, method = await _exactly(sock, 2)
    if version != 5:
        raise ProxyFailed(PROXY_FOREIGN, f"answered with octet {version}")
    if method == 2 and proxy.user:
        user, password = proxy.user.encode(), proxy.password.encode()
        await loop.sock_sendall(sock, b"\x01" + _counted(user) + _counted(password))
        if (await _exactly(sock, 2))[1] != 0:
            raise ProxyFailed(PROXY_LOGIN, "user and password were refused")
    elif method != 0:
        raise ProxyFailed(PROXY_LOGIN, "no way of logging in is common")
    name = host.encode("idna") if not host.isascii() else host.encode()
    await loop.sock_sendall(sock, b"\x05\x01\x00\x03" + _counted(name) + port.to_bytes(2, "big"))
    version, reply, _, kind = await _exactly(sock, 4)
    if version != 5:
        raise ProxyFailed(PROXY_FOREIGN, f"answered with octet {version}")
    if reply != 0:
        raise ProxyFailed(PROXY_REFUSED, _SOCKS_REASONS.get(reply, f"reply {reply}"))
    length = {1: 4, 4: 16}.get(kind) or (await _exactly(sock, 1))[0]
    await _exactly(sock, length + 2)


def _counted(octets: bytes) -> bytes:
    return bytes([len(octets)]) + octets
