"""SSH server side: the accept loop with the limits that asyncssh itself lacks.

`SshListener` is a service used by the console, the bastion and the console's service endpoint. It accepts on
TCP addresses and unix sockets, refuses beyond its limits before any cryptography is done (`admission`), finds out how
the connection begins (`entrance`), and hands the socket to asyncssh (`accepted`). What a connection may do is decided
by the `SSHServer` subclass of its owner.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import asyncssh
from asyncssh import SSHServerConnectionOptions
from asyncssh.packet import PacketDecodeError

from core import clock
from core.diagnostic import incident
from core.errors import EX_CANTCREAT, GatepostError
from core.lifecycle import Scope
from core.port import listen
from core.ssh.accepted import ConnectionLimits, ServerConnection, Stage, Turnstile, handshake
from core.ssh.admission import AUTH_FAILED, EXCHANGED, LOOKED, NO_AUTH, TIMED_OUT, AcceptGate, AcceptLimits, Refusal
from core.ssh.entrance import Entrance, busy, introduced, linger, refuse_http
from core.ssh.splice import origin_of
from protocol.proxy import ProxyError

BACKLOG = 512
_A_TURN = 32
"""Connections that are accepted in one turn of the loop: some milliseconds at most."""
_LINGERING = 200
"""Refused connections that are kept until they have read why; beyond that only who waits for our banner reads it."""

Endpoint = tuple[str, int] | Path
"""Where to listen: (address, port) or the path of a unix socket."""


def bind(name: str, endpoint: Endpoint) -> socket.socket:
    """Open a listening socket; a unix socket file of the same name is replaced, and is for its owner only.

    Raises `GatepostError`: 69 for a port that cannot be had, 73 for a socket file.
    """
    if not isinstance(endpoint, Path):
        return listen(name, *endpoint, backlog=BACKLOG)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        endpoint.unlink(missing_ok=True)
        sock.bind(str(endpoint))
        endpoint.chmod(0o600)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        reason = f"{error.strerror or error}; the daemon's user must be able to write there"
        raise GatepostError(f"{name}: socket {endpoint}: {reason}", EX_CANTCREAT) from error
    sock.setblocking(False)
    return sock


class _Came:
    """One accepted connection until it is in: its socket, its ends, and whether the gate has counted it."""

    def __init__(self, sock: socket.socket, address: object) -> None:
        self.sock = sock
        self.source, self.source_port = address[:2] if isinstance(address, tuple) else ("", 0)
        self.origin = origin_of(address)
        here = sock.getsockname()
        self.local = f"{here[0]}:{here[1]}" if isinstance(here, tuple) else str(here)
        self.port = int(here[1]) if isinstance(here, tuple) else 0
        self.connection: ServerConnection | None = None
        self.through_proxy = False
        self.in_tls = False

    def peer(self) -> tuple[str, int] | None:
        """Give what the connection is to take for its peer, where the socket itself cannot say it."""
        if self.through_proxy:
            return str(self.source), int(self.source_port)
        return None if self.source else (self.origin, 0)

    def charge(self, error: Exception) -> str:
        """Say what a connection that came to nothing is charged as: by what it made us do."""
        connection = self.connection
        if connection is None:
            return LOOKED  # it was gone before it could be told how it begins
        if connection.failures > 0:
            return AUTH_FAILED
        left = connection.farewell or isinstance(error, (OSError, asyncssh.ConnectionLost))
        if not left or connection.stage in (Stage.NOTHING, Stage.EXCHANGE):
            return NO_AUTH
        return EXCHANGED if self.in_tls or connection.stage is Stage.EXCHANGED else LOOKED

    def refusal(self, rule: str, reason: str) -> Refusal:
        """Say that it did not get in."""
        return Refusal(str(self.source), self.local, reason, rule)


class SshListener:
    """Accept SSH connections on some endpoints until told to stop.

    At the stop signal it accepts no more, gives connections `drain_s` to end by themselves, then closes them.
    """

    def __init__(
        self,
        name: str,
        endpoints: Sequence[Endpoint],
        options: SSHServerConnectionOptions,
        *,
        limits: AcceptLimits | None = None,
        within: ConnectionLimits | None = None,
        entrance: Entrance | None = None,
        refused: Callable[[Refusal], None] | None = None,
        took: Callable[[float], None] | None = None,
        drain_s: float = 1.0,
    ) -> None:
        self.name = name
        self.options = options
        """Replaced to change keys for connections still to come."""
        self.addresses: list[Endpoint] = []
        """What is really bound, in the order given; known when ready."""
        self.connections: set[ServerConnection] = set()
        self._endpoints = endpoints
        self._limits = limits or AcceptLimits()
        self._within = within or ConnectionLimits(tries=self._limits.tries)
        self._entrance = entrance or Entrance()
        self.gate = AcceptGate(self._limits)
        self._turnstile = Turnstile(self._limits.handshakes) if self._limits.handshakes else None
        self._refused = refused or (lambda _refusal: None)
        self._took = took or (lambda _seconds: None)
        self._drain_s = drain_s
        self._lingering = 0

    async def run(self, scope: Scope) -> None:
        """Accept until stopping, then drain and close."""
        sockets: list[socket.socket] = []
        try:
            sockets += (bind(self.name, endpoint) for endpoint in self._endpoints)
            for sock, endpoint in zip(sockets, self._endpoints, strict=True):
                self.addresses.append(endpoint if isinstance(endpoint, Path) else sock.getsockname()[:2])
            acceptors = [scope.start(self._accept(scope, sock), name="accept") for sock in sockets]
            scope.ready()
            await scope.stopping.wait()
            for acceptor in acceptors:
                acceptor.cancel()
        finally:
            for sock in sockets:
                sock.close()
        await self._drain()

    async def _accept(self, scope: Scope, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError:
                # Out of descriptors, or the peer left before we got to it: neither is a reason to stop.
                await asyncio.sleep(0.1)
                continue
            self._receive(scope, sock, address)
            # Who waits besides is taken in the same turn of the loop: one a turn is too slow for a thousand at once.
            with suppress(OSError):
                for _ in range(_A_TURN):
                    self._receive(scope, *listening.accept())

    def _receive(self, scope: Scope, sock: socket.socket, address: object) -> None:
        sock.setblocking(False)
        came = _Came(sock, address)
        if self._entrance.introduces(str(came.source)):
            scope.start(self._introduce(scope, came), name=f"introduction by {came.source}")
        else:
            self._let_in(scope, came)

    async def _introduce(self, scope: Scope, came: _Came) -> None:
        try:
            who = await introduced(came.sock)
        except (ProxyError, TimeoutError, OSError) as error:
            came.sock.close()
            self._refused(came.refusal("proxy", str(error) or "the PROXY header did not come in time"))
            return
        if who is not None:
            came.source, came.source_port = who
            came.through_proxy = True
        self._let_in(scope, came)

    def _let_in(self, scope: Scope, came: _Came) -> None:
        refused = self.gate.refuse(str(came.source))
        if refused is None:
            scope.start(self._serve(came), name=f"connection from {came.source or came.local}")
            return
        self._refused(came.refusal(*refused))
        if refused[0] not in ("full", "early-drop", "penalty"):
            came.sock.close()
            return
        self._send_away(came)
        if self._lingering < _LINGERING:
            self._lingering += 1
            scope.start(self._linger(came), name=f"farewell to {came.source}")
        else:
            came.sock.close()

    def _send_away(self, came: _Came) -> None:
        """Tell a connection that is not taken when the next one will be, without any cryptography."""
        why = "busy"
        if seconds := self.gate.kept_out_s(str(came.source)):
            why = "too many attempts from your address"
        else:
            seconds = self.gate.returns.book(self.gate.unknown)
        with suppress(OSError):
            came.sock.send(busy(self.options.version.decode("ascii"), seconds, why))

    async def _linger(self, came: _Came) -> None:
        try:
            await linger(came.sock)
        finally:
            self._lingering -= 1

    async def _serve(self, came: _Came) -> None:
        source = str(came.source)
        waiting = True
        try:
            connection = await self._log_in(came)
            if connection is None:
                return
            self.gate.authenticated(source)
            waiting = False
            self.connections.add(connection)
            try:
                await connection.wait_closed()
            finally:
                self.connections.discard(connection)
                connection.abort()
        except TimeoutError:
            self._failed(came, TIMED_OUT, "time-out", "did not log in in time")
        except (OSError, asyncssh.Error, PacketDecodeError, UnicodeDecodeError) as error:
            charge = came.charge(error)
            reason = getattr(error, "reason", "") or str(error)
            self._failed(came, charge, "login" if charge == AUTH_FAILED else "broken", reason)
        except Exception as error:  # one connection never takes its siblings down
            incident(f"{self.name}: connection from {source or came.local}", error)
        finally:
            if waiting:
                self.gate.authenticated(source)
            self.gate.gone()

    async def _log_in(self, came: _Came) -> ServerConnection | None:
        begun = clock.monotonic()
        async with asyncio.timeout(self._limits.login_timeout_s):
            kind = await self._entrance.begins(came.sock, came.port)
            if kind == "http":
                self._refused(came.refusal("http", "spoke HTTP"))
                await refuse_http(came.sock)
                return None
            context = self._entrance.tls() if kind == "tls" and self._entrance.tls is not None else None
            came.in_tls = context is not None
            connection = await handshake(
                came.sock,
                self.options,
                limits=self._within,
                turnstile=self._turnstile,
                tls=context,
                source=came.peer(),
                made=lambda made: setattr(came, "connection", made),
            )
        took_s = clock.monotonic() - begun
        self.gate.returns.logged_in(self.gate.unknown - 1)
        self._took(took_s)
        return connection

    def _failed(self, came: _Came, penalty: str, rule: str, reason: str) -> None:
        self.gate.penalise(str(came.source), penalty)
        self._refused(came.refusal(rule, reason))

    async def _drain(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                for connection in list(self.connections):
                    await connection.wait_closed()
        for connection in list(self.connections):
            connection.disconnect(asyncssh.DISC_BY_APPLICATION, "this daemon is stopping")
