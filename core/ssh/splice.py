"""Join two byte streams: SSH channels, unix or TCP sockets, in any pairing.

Used by the bastion (engineer's channel to appliance's channel) and the tunnel client (channel to the console's
socket). What arrives before the other half is connected is kept, since an SSH server speaks first. Back-pressure
and half-closing pass through. Knows nothing of what the bytes mean.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import asyncssh

_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
CONNECTED_S = 10.0
"""How long either end of a splice may take to be connected after they were joined."""


class Half(asyncssh.SSHTCPSession[bytes]):
    """One end of a splice; serves as an asyncssh session and as an asyncio protocol."""

    def __init__(self, ended: Callable[[], None] | None = None) -> None:
        self._transport: Any = None
        self._other: Self | None = None
        self._early: list[bytes] = []
        self._eof = False
        self._over = False
        self._ended = ended
        self._waiting: asyncio.TimerHandle | None = None

    def join(self, other: Self) -> Self:
        """Link both halves; gives this one.

        Whichever is not connected yet has some seconds: the channel that asked for this may be gone meanwhile, and
        nobody tells its half so.
        """
        self._other, other._other = other, self
        if self._over or other._over:
            self.close()
            other.close()
            return self
        self._flush()
        other._flush()
        if not self._over and (self._transport is None or other._transport is None):
            self._waiting = asyncio.get_running_loop().call_later(CONNECTED_S, self._look)
        return self

    def connection_made(self, chan: Any) -> None:
        if self._over:  # what it was to be joined with is gone, so nobody else would close it
            chan.close()
            return
        self._transport = chan
        if self._other is not None:
            self._other._flush()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        target = self._target()
        if target is None:
            self._early.append(data)
        elif not target.is_closing():  # writing would raise, and take all other channels of our connection down
            target.write(data)

    def eof_received(self) -> bool:
        self._eof = True
        self._flush()
        return not self._over

    def pause_writing(self) -> None:
        if (source := self._target()) is not None:
            source.pause_reading()

    def resume_writing(self) -> None:
        if (source := self._target()) is not None:
            source.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        """Close this half and, through it, the other; safe to call again."""
        self._over = True
        transport, self._transport = self._transport, None
        other, self._other = self._other, None
        ended, self._ended = self._ended, None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        if transport is not None:
            transport.close()
        if other is not None:
            other.close()
        if ended is not None:
            ended()

    def _target(self) -> Any:
        return None if self._other is None else self._other._transport

    def _flush(self) -> None:
        target = self._target()
        if target is None:
            return
        for data in self._early:
            target.write(data)
        self._early.clear()
        if self._eof and target.can_write_eof():
            target.write_eof()
        if self._eof and self._other is not None and self._other._eof:
            # Both have said all. To a channel two ends of input are no close, and OpenSSH's `-W` waits for ours.
            self.close()

    def _look(self) -> None:
        if self._transport is None or self._target() is None:
            self.close()


def _protocol() -> Any:
    return Half()


async def splice_to_unix(path: Path, ended: Callable[[], None], timeout_s: float = 5, origin: str = "") -> Half:
    """Connect to a unix socket and give the session for the channel to join with it.

    `ended` is called once when either side is gone. `origin` says for whom: who accepts the connection reads it with
    `origin_of`. Raises ChannelOpenError if nobody listens there.
    """
    near = Half(ended)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(_named(origin))
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(sock, str(path))
            _, far = await asyncio.get_running_loop().create_unix_connection(_protocol, sock=sock)
    except OSError as error:
        sock.close()
        near.close()
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the console does not answer") from error
    return near.join(far)


def _named(origin: str) -> bytes:
    """Make the name of a client's socket that tells for whom it comes; abstract, so it leaves no file."""
    return b"\0" + secrets.token_hex(6).encode() + b"/" + origin.encode("utf-8", "replace")[:80]


def origin_of(address: object) -> str:
    """Read for whom a unix socket's client comes from its name, as `accept` gives it; '' if it does not say."""
    if not isinstance(address, bytes) or not address.startswith(b"\0"):
        return ""
    return address.partition(b"/")[2].decode("utf-8", "replace")


async def splice_to_address(address: str, port: int, ended: Callable[[], None], timeout_s: float = 10) -> Half:
    """Connect to another host and give the session for the channel to join with it.

    A host that vanishes is noticed within a minute or so: its end of the channel must not hang. Raises
    ChannelOpenError with what to look at.
    """
    near = Half(ended)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        for level, option, value in _ALIVE:
            sock.setsockopt(level, option, value)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
            _, far = await asyncio.get_running_loop().create_connection(_protocol, sock=sock)
    except OSError as error:
        sock.close()
        near.close()
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, f"{address} port {port}: {reason}") from error
    return near.join(far)


async def splice_to_channel(
    connection: asyncssh.SSHServerConnection,
    target: tuple[str, int],
    origin: tuple[str, int],
    ended: Callable[[], None],
    timeout_s: float = 15,
) -> Half:
    """Open a forwarded channel to the other side of connection and give the session to join with it."""
    near = Half(ended)
    try:
        async with asyncio.timeout(timeout_s):
            _, far = await connection.create_connection(Half, *target, *origin)
    except (OSError, asyncssh.Error) as error:
        near.close()
        reason = "the appliance does not take connections"
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, reason) from error
    return near.join(far)  # type: ignore[arg-type]
