"""Server side: accept loops with limits that asyncssh itself lacks, and the identity behind a certificate.

`SshListener` is a service used by the console, the bastion and the console's service endpoint. It accepts on
TCP addresses and unix sockets, refuses beyond its limits before any cryptography is done, and hands the
socket to asyncssh. What a connection may do is decided by the `SSHServer` subclass of its owner.
"""

import asyncio
import copy
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncssh
from asyncssh import SSHKey, SSHServerConnectionOptions

from core.diagnostic import incident
from core.errors import EX_CANTCREAT, GatepostError
from core.lifecycle import Scope
from core.port import listen
from core.ssh.key import CertificateFacts, certificate_facts

BACKLOG = 512
MOST_FAILURES = 6
"""Keys and passwords that one connection may try in vain."""

Endpoint = tuple[str, int] | Path
"""Where to listen: (address, port) or the path of a unix socket."""


@dataclass(frozen=True, slots=True)
class AcceptLimits:
    """How many connections are taken. The per-source limit counts an IPv6 /64 as one source."""

    unauthenticated: int = 100
    unauthenticated_per_source: int = 10
    connections: int = 1000
    login_timeout_s: float = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection that did not get in: where from, to which endpoint, and why."""

    source: str
    local: str
    reason: str


class AcceptGate:
    """Counts connections and says who may come in. Knows no sockets."""

    def __init__(self, limits: AcceptLimits) -> None:
        self._limits = limits
        self._waiting: Counter[str] = Counter()
        self._total = 0

    def refuse(self, source: str) -> str:
        """Give the reason to turn this source away, or "" after counting it in."""
        limits = self._limits
        if self._total >= limits.connections:
            return "too many connections"
        if self._waiting.total() >= limits.unauthenticated:
            return "too many connections that have not logged in"
        if source and self._waiting[network_of(source)] >= limits.unauthenticated_per_source:
            return "too many connections from this source that have not logged in"
        self._total += 1
        self._waiting[network_of(source)] += 1
        return ""

    def authenticated(self, source: str) -> None:
        """Count a connection as logged in, or as gone before it did."""
        network = network_of(source)
        self._waiting[network] -= 1
        if self._waiting[network] <= 0:
            del self._waiting[network]

    def gone(self) -> None:
        """Count a connection out."""
        self._total -= 1


def network_of(source: str) -> str:
    """Give what counts as one source: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in source or source.startswith("::ffff:"):
        return source
    packed = socket.inet_pton(socket.AF_INET6, source.partition("%")[0])
    return packed[:8].hex()


class ServerConnection(asyncssh.SSHServerConnection):
    """A server connection that knows whose certificate it took and takes none without principals.

    asyncssh accepts a certificate with empty principals for every user and shows certificates to nobody;
    both are put right here, in the one private method that sees them. A test fails if it goes away.
    """

    certificate: CertificateFacts | None = None
    _failures = 0

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Count what asyncssh does not count: tries."""
        return self._counted(await super().validate_public_key(username, key_data, msg, signature))

    async def validate_password(self, username: str, password: str) -> bool:
        """Count what asyncssh does not count: tries."""
        return self._counted(await super().validate_password(username, password))

    def _counted(self, good: bool) -> bool:
        self._failures += not good
        if self._failures >= MOST_FAILURES:
            code = asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE
            raise asyncssh.DisconnectError(code, "too many authentication failures")
        return good

    async def _validate_openssh_certificate(self, username: str, cert: asyncssh.SSHCertificate) -> SSHKey | None:
        facts = certificate_facts(cert)
        if not facts.principals:
            return None
        key: SSHKey | None = await super()._validate_openssh_certificate(username, cert)  # type: ignore[arg-type]
        self.certificate = facts if key is not None else None
        return key


def certificate_of(connection: asyncssh.SSHServerConnection) -> CertificateFacts | None:
    """Give the certificate that a connection logged in with; None if it was a plain key or password."""
    return connection.certificate if isinstance(connection, ServerConnection) else None


async def handshake(sock: socket.socket, options: SSHServerConnectionOptions) -> ServerConnection:
    """Speak SSH as the server on an accepted socket; returns when the client has logged in."""
    loop = asyncio.get_running_loop()
    own = copy.copy(options)
    own.waiter = loop.create_future()
    _, connection = await loop.connect_accepted_socket(lambda: ServerConnection(loop, own, wait="auth"), sock)
    try:
        await own.waiter
    except BaseException:
        connection.abort()
        raise
    return connection


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
        refused: Callable[[Refusal], None] | None = None,
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
        self._gate = AcceptGate(self._limits)
        self._refused = refused or (lambda _refusal: None)
        self._drain_s = drain_s

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
        local = _name(listening.getsockname())
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError:
                # Out of descriptors, or the peer left before we got to it: neither is a reason to stop.
                await asyncio.sleep(0.1)
                continue
            source = address[0] if isinstance(address, tuple) else ""
            reason = self._gate.refuse(source)
            if reason:
                sock.close()
                self._refused(Refusal(source, local, reason))
                continue
            sock.setblocking(False)
            scope.start(self._serve(sock, source, local), name=f"connection from {source or local}")

    async def _serve(self, sock: socket.socket, source: str, local: str) -> None:
        waiting = True
        try:
            async with asyncio.timeout(self._limits.login_timeout_s):
                connection = await handshake(sock, self.options)
            self._gate.authenticated(source)
            waiting = False
            self.connections.add(connection)
            try:
                await connection.wait_closed()
            finally:
                self.connections.discard(connection)
                connection.abort()
        except TimeoutError:
            self._refused(Refusal(source, local, "did not log in in time"))
        except (OSError, asyncssh.Error) as error:
            self._refused(Refusal(source, local, getattr(error, "reason", "") or str(error)))
        except Exception as error:  # one connection never takes its siblings down
            incident(f"{self.name}: connection from {source or local}", error)
        finally:
            if waiting:
                self._gate.authenticated(source)
            self._gate.gone()

    async def _drain(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._drain_s):
                for connection in list(self.connections):
                    await connection.wait_closed()
        for connection in list(self.connections):
            connection.disconnect(asyncssh.DISC_BY_APPLICATION, "this daemon is stopping")


def _name(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)
