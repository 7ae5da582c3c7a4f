"""Reach the bastion: by name, over IPv6 and IPv4, with its banner as the finish line.

`reach` races the addresses of a name on one port (RFC 8305 in shape: families interleaved, 250 ms between
starts) and gives the first socket on which our bastion's banner stands. The banner is only peeked at, so SSH
then runs on that very socket. Every attempt leaves a verdict. Called by `client.py`. Raises nothing but
cancellation.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

from core import clock
from core.dns import Answer
from tunnel.appliance.verdict import OURS, REFUSED, RESET, SILENT, TIMEOUT, Verdict, of_banner

STAGGER_S = 0.25
MOST_ADDRESSES = 8
_PEEK = 255
_TCP_USER_TIMEOUT_MS = 30_000


class Resolver(Protocol):
    """What is needed of a resolver; `core/dns.py` has it."""

    async def addresses(self, name: str) -> Answer[str]:
        """Give the IPv4 and IPv6 addresses of a host name."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt on one address and port."""

    address: str
    port: int
    verdict: Verdict
    took_s: float
    at: float


Connect = Callable[[str, int], Awaitable[socket.socket]]
"""Opens a TCP connection; replaced in tests that have no six free ports."""


def interleave(addresses: Sequence[str]) -> list[str]:
    """Order addresses for the race: families take turns, IPv6 first, a bounded number of them."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    pairs = zip_longest(six, four)
    return [address for pair in pairs for address in pair if address is not None][:MOST_ADDRESSES]


async def connect_tcp(address: str, port: int) -> socket.socket:
    """Open a TCP connection with keepalive and a bound on unacknowledged data."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def peek_banner(sock: socket.socket) -> bytes:
    """Wait for the first line that the peer says and give it, leaving it in the socket."""
    loop = asyncio.get_running_loop()
    seen = b""
    while True:
        readable = loop.create_future()
        loop.add_reader(sock, _wake, readable)
        try:
            await readable
        finally:
            loop.remove_reader(sock)
        first = sock.recv(_PEEK, socket.MSG_PEEK)
        if not first or b"\n" in first or len(first) >= _PEEK or first == seen:
            return first
        seen = first
        # The socket stays readable while bytes lie in it: give the rest of the line a moment to arrive.
        await asyncio.sleep(0.1)


async def attempt(
    address: str, port: int, timeout_s: float, connect: Connect = connect_tcp
) -> tuple[socket.socket | None, Attempt]:
    """Try one address: connect within timeout_s, then see a banner within timeout_s."""
    begun = clock.monotonic()
    sock: socket.socket | None = None
    verdict = TIMEOUT
    try:
        async with asyncio.timeout(timeout_s):
            sock = await connect(address, port)
        verdict = SILENT
        async with asyncio.timeout(timeout_s):
            verdict = of_banner(await peek_banner(sock))
    except TimeoutError:
        pass
    except ConnectionResetError:
        verdict = RESET
    except OSError:
        verdict = REFUSED
    except BaseException:
        if sock is not None:
            sock.close()
        raise
    if sock is not None and verdict is not OURS:
        sock.close()
        sock = None
    return sock, Attempt(address, port, verdict, clock.monotonic() - begun, clock.now())


class _Race:
    """The attempts on one port; the first good banner ends the others."""

    def __init__(self, port: int, timeout_s: float, note: Callable[[Attempt], None], connect: Connect) -> None:
        self.won: list[tuple[socket.socket, Attempt]] = []
        self._port, self._timeout_s, self._note, self._connect = port, timeout_s, note, connect
        self._runners: list[asyncio.Task[None]] = []

    async def run(self, addresses: Sequence[str]) -> None:
        async with asyncio.TaskGroup() as group:
            before = asyncio.Event()
            for index, address in enumerate(addresses):
                failed = asyncio.Event()
                self._runners.append(group.create_task(self._one(address, index * STAGGER_S, before, failed)))
                before = failed

    async def _one(self, address: str, delay_s: float, before: asyncio.Event, failed: asyncio.Event) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await before.wait()
        sock, result = await attempt(address, self._port, self._timeout_s, self._connect)
        self._note(result)
        failed.set()
        if sock is not None:
            self.won.append((sock, result))
            for runner in self._runners:
                if runner is not asyncio.current_task():
                    runner.cancel()


async def reach(
    addresses: Sequence[str],
    port: int,
    timeout_s: float,
    note: Callable[[Attempt], None],
    connect: Connect = connect_tcp,
) -> tuple[socket.socket, Attempt] | None:
    """Race the addresses on one port; gives the winning socket, or None when none has our banner."""
    race = _Race(port, timeout_s, note, connect)
    kept = 0
    try:
        await race.run(interleave(addresses))
        kept = 1
    finally:
        for sock, _ in race.won[kept:]:
            sock.close()
    return race.won[0] if race.won else None
