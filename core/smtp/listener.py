"""The SMTP listener: a service that binds a port, admits connections within limits and sweeps their deadlines.

A daemon root makes one per configured listener, with a factory of sessions. `suspend` closes the port and, after a
delay, what is still connected; `resume` opens it again. On stopping the port closes, idle connections are told
421 at once, the others when their message is through; what is left at the end of the grace is told 421 and cut.
Raises `GatepostError` (69) when the address cannot be bound. What belongs to a message is the session's to log.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

from core import clock
from core.lifecycle import Scope
from core.maillog import MailLog
from core.port import listen
from core.runtime import spawn
from core.smtp.admission import Admission
from core.smtp.connection import Connection
from core.smtp.deadline import is_idle
from core.smtp.session import SessionFactory
from core.smtp.settings import ListenerSettings
from protocol.reply import Reply
from protocol.smtp.states import State

SWEEP_S: Final = 1.0
DRAIN_S: Final = 0.05
ACCEPT_AGAIN_S: Final = 0.1
"""Pause after a connection could not be accepted."""
SHUTDOWN: Final = Reply(421, "4.3.2", "This service is closing the connection; try again later")


class SmtpListener:
    """One listener. `tls` gives the server context for each handshake, so that certificates can be replaced."""

    def __init__(
        self,
        settings: ListenerSettings,
        session_factory: SessionFactory,
        *,
        tls: Callable[[], ssl.SSLContext] | None = None,
        log: MailLog | None = None,
        suspended: bool = False,
    ) -> None:
        """With `suspended` the port stays closed until `resume`."""
        self.name = f"listener {settings.name}"
        self.settings = settings
        self.port = settings.port
        """The bound port, once ready: port 0 takes any that is free."""
        self._admission = Admission(settings, session_factory, tls, log)
        self._port: Port | None = None
        self._cut_at: float | None = None
        self._begin_suspended = suspended

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._admission.connections)

    @property
    def suspended(self) -> bool:
        """Whether the port is closed."""
        return self._port is None

    async def run(self, scope: Scope) -> None:
        """Listen until stopping; return when the last connection is through with its message."""
        self._admission.loop = asyncio.get_running_loop()
        if not self._begin_suspended:
            await self.resume()
        scope.ready()
        try:
            while await scope.pause(SWEEP_S):
                self.sweep(clock.monotonic())
            self._close_port()
            with scope.activity(f"{self.name}: messages being received"):
                await self._drain()
        finally:
            self._close_port()
            self._end_all()

    def suspend(self, delay_s: float) -> None:
        """Close the port now, and after `delay_s` the connections that are still open."""
        self._close_port()
        self._cut_at = clock.monotonic() + delay_s

    async def resume(self) -> None:
        """Open the port, if it is closed. Raises `GatepostError` when it is taken."""
        self._cut_at = None
        if self._port is None:
            settings = self.settings
            sock = listen(self.name, settings.host, self.port, backlog=settings.backlog, reuse_port=settings.reuse_port)
            self.port = sock.getsockname()[1]
            self._port = await _open_port(self._admission, sock)

    def sweep(self, now: float) -> None:
        """Judge every connection's deadlines; `run` does it once a second."""
        if self._cut_at is not None and now >= self._cut_at:
            self._end_all()
        limits = self.settings.timeouts
        for connection in tuple(self._admission.connections):
            machine = connection.machine
            reply = connection.deadline.overdue(machine, limits, now, held_up=not connection.reading)
            if reply is not None:
                connection.end(reply)
            elif machine.state is State.NEW and now - connection.deadline.began >= limits.greet_delay_s:
                connection.greet()

    async def _drain(self) -> None:
        while self._admission.connections:
            for connection in tuple(self._admission.connections):
                if not connection.machine.closed and is_idle(connection.machine):
                    connection.end(SHUTDOWN)
            self.sweep(clock.monotonic())
            await asyncio.sleep(DRAIN_S)

    def _end_all(self) -> None:
        for connection in tuple(self._admission.connections):
            if not connection.machine.closed:
                connection.end(SHUTDOWN)

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()


class Port(Protocol):
    """A port that takes connections until it is closed."""

    def close(self) -> None:
        """Take no more connections."""


async def _open_port(admission: Admission, sock: socket.socket) -> Port:
    if admission.settings.implicit_tls:
        return TlsPort(admission, sock)
    backlog = admission.settings.backlog
    return await admission.loop.create_server(lambda: Connection(admission), sock=sock, backlog=backlog)


class TlsPort:
    """A port whose connections begin with a handshake, each with the context of that moment (RFC 8314)."""

    def __init__(self, admission: Admission, sock: socket.socket) -> None:
        self._admission = admission
        self._sock = sock
        self._handshakes = 0
        self._again: asyncio.TimerHandle | None = None
        self._listen()

    def _listen(self) -> None:
        self._again = None
        self._admission.loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Take no more connections."""
        if self._again is not None:
            self._again.cancel()
        self._admission.loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        try:
            sock, address = self._sock.accept()
        except OSError:
            # Gone again, or no descriptor left: asking again at once would turn the loop for nothing.
            self._admission.loop.remove_reader(self._sock)
            self._again = self._admission.loop.call_later(ACCEPT_AGAIN_S, self._listen)
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        limit = self._admission.settings.max_connections
        if 0 < limit <= len(self._admission.connections) + self._handshakes:
            sock.close()
        else:
            self._handshakes += 1
            spawn(self._handshake(sock, str(address[0])), "TLS handshake")

    async def _handshake(self, sock: socket.socket, host: str) -> None:
        admission = self._admission
        try:
            await admission.loop.connect_accepted_socket(
                lambda: Connection(admission),
                sock,
                ssl=admission.tls_context(),
                ssl_handshake_timeout=admission.settings.timeouts.handshake_s,
            )
        except OSError as error:
            admission.note_handshake(host, getattr(error, "reason", None) or str(error))
            sock.close()
        finally:
            self._handshakes -= 1
