"""HTTP servers as services: uvicorn, which is touched here only.

A root makes one for an ASGI application: `HttpServer` speaks TLS; `HttpPort` speaks in the clear, on an address that
may change while it runs. Signals stay the daemon's; on stopping, requests under way get a few seconds. Bounded: open
connections, size of a request's head, time for a request to come, time to keep a connection alive. Raises status 69
when the address is taken.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from core.errors import GatepostError
from core.lifecycle import Scope
from core.port import bind, listen, start
from core.switch import Prepared
from core.tls_rules import TlsRules

_CONNECTIONS = 100
_GRACE_S = 5
_KEEP_ALIVE_S = 15
_REQUEST_S = 15.0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: a daemon has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class _Patient(H11Protocol):
    """A connection that ends when no whole request has come in time: uvicorn would wait for ever for the first.

    Where there are too many, the one that has been silent for longest makes room: who says nothing keeps nobody out.
    """

    request_s = _REQUEST_S
    most = _CONNECTIONS
    """Connections; when all of them are being answered, another is told so, and beyond twice as many nothing."""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_request()
        if len(self.connections) >= self.most:
            self._make_room()

    def _make_room(self) -> None:
        silent = [one for one in self.connections if isinstance(one, _Patient) and one is not self and one.silent]
        if not silent and len(self.connections) <= 2 * self.most:
            return
        leaves = min(silent, key=lambda one: one.waits_until, default=self)
        self.connections.discard(leaves)
        self.loop.call_soon(leaves.transport.abort)

    @property
    def silent(self) -> bool:
        """Whether a request is waited for."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def waits_until(self) -> float:
        """When the time for a request is over."""
        return self._deadline.when() if self._deadline is not None else 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._await_request()
        super().on_response_complete()

    def _await_request(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.request_s, self._give_up)

    def _give_up(self) -> None:
        if self.silent:
            self.transport.abort()


class _Brief(_Patient):
    """For programs that ask and go."""

    request_s = 5.0
    most = 20


def _config(application: Any, protocol: type[_Patient], **more: Any) -> uvicorn.Config:
    """Give what both kinds have in common. What peers do wrong is no line in a log that nothing bounds."""
    return uvicorn.Config(
        application,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=protocol.most,
        timeout_graceful_shutdown=_GRACE_S,
        **more,
    )


def _close(server: _Server) -> None:
    """Whoever is cancelled leaves no open port behind: the loop would never close."""
    for one in getattr(server, "servers", ()):  # none before it has begun
        one.close()


class HttpServer:
    """Serves one application on one address."""

    name = "http"

    def __init__(self, application: Any, address: str, port: int, *, tls: Callable[[], ssl.SSLContext]) -> None:
        """`application` is an ASGI application; `port` 0 takes a free one."""
        self.port = port
        self._application = application
        self._address = address
        self._tls = tls
        self._shown: ssl.SSLContext | None = None
        """The context that connections begin with; OpenSSL takes the versions from it, whatever comes later."""

    def _front(self) -> ssl.SSLContext:
        """Give a context that hands every handshake to the one in force then: certificates can be replaced."""
        front = self._shown = self._tls()

        def newest(session: ssl.SSLObject, _name: str | None, _: ssl.SSLContext) -> None:
            session.context = self._tls()

        front.sni_callback = newest
        return front

    def speak(self, rules: TlsRules) -> None:
        """Speak other TLS versions and ciphers from the next connection on."""
        if self._shown is not None:
            rules.apply(self._shown)

    async def run(self, scope: Scope) -> None:
        """Serve until stopping."""
        sock = listen(self.name, self._address, self.port, backlog=_CONNECTIONS)
        self.port = sock.getsockname()[1]
        config = _config(
            self._application,
            _Patient,
            timeout_keep_alive=_KEEP_ALIVE_S,
            ssl_context_factory=lambda _config, _default: self._front(),
        )
        server = _Server(config)
        serving = scope.start(server.serve(sockets=[sock]), name="http server")
        scope.ready()
        try:
            await scope.stopping.wait()
            server.should_exit = True
            with scope.activity("requests being answered"), contextlib.suppress(asyncio.CancelledError):
                await serving
        finally:
            _close(server)


class Place(NamedTuple):
    """An address to listen on."""

    host: str
    port: int


class HttpPort:
    """Serves one application in the clear, each connection for one request, on a place that may change or be none."""

    def __init__(self, name: str, application: Any, place: Place | None) -> None:
        self.name = name
        self._application = application
        self._place = place
        self._scope: Scope
        self._open: tuple[_Server, asyncio.Task[None]] | None = None

    @property
    def place(self) -> Place | None:
        """Where it listens, with the port that was found where any would do."""
        return self._place

    async def run(self, scope: Scope) -> None:
        """Serve until stopping."""
        self._scope = scope
        if self._place is not None:
            self._serve(bind(self.name, *self._place))
        scope.ready()
        try:
            await scope.stopping.wait()
            await self._close()
        finally:
            if self._open is not None:
                _close(self._open[0])

    async def prepare(self, place: Place | None) -> Prepared:
        """Take hold of another place. Raises `GatepostError` if it is taken."""
        if place == self._place:
            return Prepared()
        if place is None:
            return Prepared(self._close)
        if self._place is not None and self._place.port == place.port:
            return Prepared(lambda: self._move(place))  # one may cover the other: it is free only when that is closed
        sock = bind(self.name, *place)

        async def apply() -> None:
            before = self._open
            self._serve(sock)
            await self._end(before)

        return Prepared(apply, sock.close)

    async def _move(self, place: Place) -> None:
        before = self._place
        await self._close()
        try:
            self._serve(bind(self.name, *place))
        except GatepostError:
            if before is None:
                raise
            self._serve(bind(self.name, *before))

    def _serve(self, sock: socket.socket) -> None:
        start(self.name, sock, _CONNECTIONS)
        host, port = sock.getsockname()[:2]
        self._place = Place(host, port)
        config = _config(
            self._application,
            _Brief,
            timeout_keep_alive=1,
            h11_max_incomplete_event_size=16 << 10,
            headers=[("Connection", "close")],
        )
        server = _Server(config)
        self._open = server, self._scope.start(server.serve(sockets=[sock]), name=f"port {port}")

    async def _close(self) -> None:
        before, self._open, self._place = self._open, None, None
        await self._end(before)

    async def _end(self, one: tuple[_Server, asyncio.Task[None]] | None) -> None:
        if one is None:
            return
        server, serving = one
        server.should_exit = True
        with self._scope.activity("requests being answered"), contextlib.suppress(asyncio.CancelledError):
            await serving
