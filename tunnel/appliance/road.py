"""One attempt on one address, port and way, up to the bastion's banner.

`Road.attempt` gives a `Wire` when our banner is there, and always an `Attempt` with a verdict. Every wait is bounded.
What says nothing is spoken to: a firewall that understands protocols lets the server speak only after the client,
and then SSH is tried on a fresh connection without waiting for the banner. Called by `hunt.py` and `probe.py`. Raises
nothing but cancellation.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from core import clock
from tunnel.appliance.proxy import Proxy, ProxyFailed, dialled
from tunnel.appliance.verdict import (
    CLOSED,
    FOREIGN_SSH,
    LATE,
    MIDDLEBOX,
    NO_ROUTE,
    NO_TLS,
    OURS,
    PROXY_DOWN,
    REFUSED,
    RESET,
    SILENT,
    SLOW,
    TIMEOUT,
    TLS_FOREIGN,
    UNANSWERED,
    Attempt,
    Stage,
    Verdict,
    Way,
    of_banner,
    printable,
)
from tunnel.appliance.wire import Greeter, Wire, peek_banner, seen_so_far

CLIENT_VERSION = "GatepostAppliance_1.0"
LATE_S = 3.0
"""How long something that said nothing gets after we have spoken."""
ALPN = "ssh"
_TCP_USER_TIMEOUT_MS = 30_000
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

Connect = Callable[[str, int], Awaitable[socket.socket]]
"""Opens a TCP connection; replaced in tests that have no six free ports."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something to try."""

    name: str
    """The name that is asked for: what TLS and the host key must be of, and what a proxy is told."""
    address: str
    """Where to connect; through a proxy the host name."""
    port: int
    way: Way = Way.SSH


async def connect_tcp(address: str, port: int) -> socket.socket:
    """Open a TCP connection with keepalive, no delay and a bound on unacknowledged data."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def tls_context(authorities: str | None) -> ssl.SSLContext:
    """Make the client's side of TLS round SSH; only the authorities in the given PEM file are trusted.

    Without such a file any certificate is taken: TLS is a wrapping then, and the pinned host key inside decides.
    """
    context = ssl.create_default_context(cafile=authorities)
    if authorities is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    return context


@dataclass(slots=True)
class Progress:
    """How far an attempt has come, for whoever gives it up."""

    begun: float = field(default_factory=clock.monotonic)
    stage: Stage = Stage.TCP

    def given_up(self, candidate: Candidate) -> Attempt:
        """Give the row of an attempt that was ended because another one was quicker."""
        took_s = clock.monotonic() - self.begun
        verdict = TIMEOUT if self.stage is Stage.TCP else UNANSWERED.at(self.stage)
        detail = f"given up after {took_s:.1f} s, because another one answered"
        return Attempt(candidate.address, candidate.port, verdict, took_s, clock.now(), candidate.way, detail)


class _Stop(Exception):
    """The attempt ends here, with a verdict."""

    def __init__(self, verdict: Verdict, detail: str = "") -> None:
        super().__init__(verdict.name)
        self.verdict = verdict
        self.detail = detail


class Road:
    """How this machine gets out: directly or through a proxy, plain or in TLS."""

    def __init__(
        self,
        timeout_s: float,
        *,
        connect: Connect = connect_tcp,
        context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        late_s: float = LATE_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._connect = connect
        self._context = context
        self._late_s = late_s
        self.proxy = proxy

    async def attempt(self, candidate: Candidate, progress: Progress | None = None) -> tuple[Wire | None, Attempt]:
        """Try one candidate: connect, then see a banner, each within the time-out. Keeps `progress` up to date."""
        progress = progress or Progress()
        wire: Wire | None = None
        verdict, detail = OURS, ""
        try:
            wire, verdict, detail = await self._wire(candidate, progress)
        except _Stop as stop:
            verdict, detail = stop.verdict, stop.detail
        took_s = clock.monotonic() - progress.begun
        return wire, Attempt(candidate.address, candidate.port, verdict, took_s, clock.now(), candidate.way, detail)

    async def _wire(self, candidate: Candidate, progress: Progress) -> tuple[Wire | None, Verdict, str]:
        if self.proxy is not None:
            progress.stage = Stage.PROXY
        sock = await self._open(candidate)
        progress.stage = Stage.TLS if candidate.way.in_tls else Stage.BANNER
        if candidate.way.in_tls:
            return await self._in_tls(sock, candidate)
        try:
            verdict, detail = await self._plain(sock)
        except BaseException:
            sock.close()
            raise
        if verdict is OURS:
            return Wire(sock), verdict, detail
        sock.close()
        if verdict is LATE:
            return Wire(await self._open(candidate)), verdict, detail
        return None, verdict, detail

    async def _open(self, candidate: Candidate) -> socket.socket:
        """Connect, through the proxy where there is one."""
        proxy = self.proxy
        try:
            async with asyncio.timeout(self._timeout_s):
                if proxy is None:
                    return await self._connect(candidate.address, candidate.port)
                sock = await self._connect(proxy.host, proxy.port)
        except TimeoutError:
            raise _Stop(TIMEOUT if proxy is None else PROXY_DOWN) from None
        except OSError as error:
            refused = NO_ROUTE if error.errno in _NO_ROUTE else REFUSED
            raise _Stop(refused if proxy is None else PROXY_DOWN, error.strerror or "") from error
        try:
            with _proxy_faults():
                async with asyncio.timeout(self._timeout_s):
                    await dialled(sock, proxy, candidate.address, candidate.port)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _plain(self, sock: socket.socket) -> tuple[Verdict, str]:
        try:
            async with asyncio.timeout(self._timeout_s):
                first = await peek_banner(sock)
        except TimeoutError:
            if first := seen_so_far(sock):
                return of_banner(first), printable(first)
            return await self._spoken_to(sock)
        except OSError:
            return RESET, ""
        verdict = of_banner(first)
        return verdict, "" if verdict is OURS else printable(first)

    async def _spoken_to(self, sock: socket.socket) -> tuple[Verdict, str]:
        """Say our line to what says nothing and look again; then an empty one, for which a web proxy waits."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._late_s):
                await loop.sock_sendall(sock, f"SSH-2.0-{CLIENT_VERSION}\r\n".encode())
                try:
                    async with asyncio.timeout(self._late_s / 2):
                        first = await peek_banner(sock)
                except TimeoutError:
                    await loop.sock_sendall(sock, b"\r\n")
                    first = await peek_banner(sock)
        except TimeoutError:
            first = seen_so_far(sock)
            return (of_banner(first), printable(first)) if first else (SILENT, "")
        except OSError:
            return RESET, "after our line"
        verdict = of_banner(first)
        return (LATE if verdict is OURS else verdict), printable(first) or "after our line"

    async def _in_tls(self, sock: socket.socket, candidate: Candidate) -> tuple[Wire | None, Verdict, str]:
        greeter = await self._handshake(sock, candidate.name)
        wire = Wire(None, greeter)
        verdict: Verdict = SILENT
        try:
            async with asyncio.timeout(self._timeout_s):
                verdict = of_banner(await greeter.banner())
        except TimeoutError:
            verdict = of_banner(greeter.seen) if greeter.seen else SILENT
        except BaseException:
            wire.close()
            raise
        if verdict is OURS:
            return wire, verdict, ""
        wire.close()
        detail = printable(greeter.seen)
        if self._any_certificate and verdict not in (SLOW, FOREIGN_SSH):
            # Nobody has proved to be the bastion, and who ended TLS does not speak SSH.
            return None, MIDDLEBOX, detail or f"{verdict.name} inside TLS"
        return None, verdict, detail

    @property
    def _any_certificate(self) -> bool:
        return self._context is not None and self._context.verify_mode is ssl.CERT_NONE

    async def _handshake(self, sock: socket.socket, name: str) -> Greeter:
        if self._context is None:
            sock.close()
            raise _Stop(NO_TLS, "no TLS is configured")
        try:
            async with asyncio.timeout(self._timeout_s):
                _, greeter = await asyncio.get_running_loop().create_connection(
                    Greeter, sock=sock, ssl=self._context, server_hostname=name
                )
        except TimeoutError:
            raise _Stop(SILENT.at(Stage.TLS)) from None
        except ssl.SSLCertVerificationError as error:
            raise _Stop(TLS_FOREIGN, error.verify_message) from error
        except ssl.SSLError as error:
            raise _Stop(NO_TLS, error.reason or "") from error
        except OSError as error:
            raise _Stop(RESET.at(Stage.TLS), error.strerror or "") from error
        return greeter


@contextmanager
def _proxy_faults() -> Iterator[None]:
    """Turn what goes wrong with the proxy into the end of the attempt."""
    try:
        yield
    except ProxyFailed as error:
        raise _Stop(error.verdict, error.detail) from error
    except TimeoutError as error:
        raise _Stop(PROXY_DOWN, "no answer in time") from error
    except OSError as error:
        raise _Stop(CLOSED.at(Stage.PROXY), error.strerror or str(error)) from error
