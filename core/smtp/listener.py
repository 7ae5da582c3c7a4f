"""The SMTP listener: a service that binds a port, admits connections within limits and sweeps their deadlines.

A daemon root makes one per configured listener, with a factory of sessions. `suspend` closes the port and, after a
delay, what is still connected; `resume` opens it again; `follow` has it go by other settings or at another address,
while connections that are open go on. On stopping the port closes, idle connections are told
421 at once, the others when their message is through; what is left at the end of the grace is told 421 and cut.
Raises `GatepostError` (69) when the address cannot be bound. What belongs to a message is the session's to log.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

from core import activation, clock
from core.errors import GatepostError
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from core.port import listen, start
from core.smtp.admission import Admission
from core.smtp.deadline import is_idle
from core.smtp.door import OPEN, Door
from core.smtp.port import Port, accept_waiting, open_port
from core.smtp.session import SessionFactory
from core.smtp.settings import ListenerSettings
from protocol.reply import Reply
from protocol.smtp.states import State

SWEEP_S: Final = 1.0
DRAIN_S: Final = 0.05
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
        door: Door = OPEN,
        suspended: bool = False,
    ) -> None:
        """With `suspended` the port stays closed until `resume`."""
        self.name = f"listener {settings.name}"
        self.settings = settings
        self.port = settings.port
        """The bound port, once ready: port 0 takes any that is free."""
        self._admission = Admission(settings, session_factory, tls, log, door)
        self._port: Port | None = None
        self._sock: socket.socket | None = None
        """Listens while the port is open; the port works on a copy, so that another can go on where it ends."""
        self._cut_at: float | None = None
        self._begin_suspended = suspended
        self._log = log
        self._retired = False
        self._lost = False
        """Whether the port was to be opened and could not be: it is tried again."""

    @property
    def turned_away(self) -> int:
        """How many connections were refused before they could say anything, since the start."""
        return self._admission.turned_away

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._admission.connections)

    def peers(self) -> Counter[tuple[str, str]]:
        """Count open connections by the peer's address and verified name ('' if it is not known)."""
        return Counter((one.peer.host, one.peer.name) for one in self._admission.connections)

    @property
    def suspended(self) -> bool:
        """Whether the port is closed."""
        return self._port is None

    @property
    def state(self) -> str:
        """`listening`, `suspended`, or `waiting` for a port that is taken."""
        return "waiting" if self._lost else "suspended" if self.suspended else "listening"

    async def run(self, scope: Scope) -> None:
        """Listen until stopping; return when the last connection is through with its message."""
        await self.open()
        scope.ready()
        await self.serve(scope)

    async def open(self) -> None:
        """Open the port, unless it begins suspended. Raises `GatepostError` when it is taken."""
        self._admission.loop = asyncio.get_running_loop()
        if self._begin_suspended:
            activation.withdraw(self.settings.host, self.port)
        else:
            await self.resume()

    async def serve(self, scope: Scope) -> None:
        """Sweep until stopping, or until the last connection of a retired listener has gone."""
        try:
            while await scope.pause(SWEEP_S):
                self.sweep(clock.monotonic())
                if self._lost:
                    await self._try_again()
                if self._retired and not self._admission.connections:
                    return
            self._close_port()
            with scope.activity(f"{self.name}: messages being received"):
                await self._drain()
        finally:
            self._close_port()
            self._end_all()

    def suspend(self, delay_s: float, *, for_good: bool = False) -> None:
        """Close the port now, and after `delay_s` the connections that are still open.

        `for_good`: `serve` returns when the last of them has ended.
        """
        self._lost = False
        self._retired = for_good
        self._close_port(accept=True)
        self._cut_at = clock.monotonic() + delay_s

    def lend(self) -> socket.socket | None:
        """Give a copy of the socket that listens, for whoever goes on at this address; None while there is none."""
        return self._sock.dup() if self._sock is not None else None

    async def follow(
        self,
        settings: ListenerSettings,
        session_factory: SessionFactory,
        door: Door,
        sock: socket.socket | None = None,
    ) -> None:
        """Go by new settings from the next connection on; at another address with `sock`, which is bound to it.

        A listener that is suspended takes no socket and opens at the new address when it is resumed. Raises nothing:
        an address that was taken since `sock` was bound is tried for until it is free.
        """
        old, known = self.settings, self._admission.door
        moved = (old.host, old.port) != (settings.host, settings.port)
        kind = (old.implicit_tls, known.speaks_proxy is None, old.backlog)
        turned = kind != (settings.implicit_tls, door.speaks_proxy is None, settings.backlog)
        was_open = self._port is not None or self._lost
        if moved:
            self._close_port(accept=True)
            self.port = settings.port
        self.settings = settings
        self.name = f"listener {settings.name}"
        self._admission.follow(settings, session_factory, door)
        if sock is not None and was_open:
            await self.begin(sock)
        elif sock is not None:
            sock.close()
        elif turned and self._sock is not None:
            await self._turn(self._sock)

    async def _turn(self, sock: socket.socket) -> None:
        """Have connections begin otherwise: another port on the same socket, which loses nobody who waits in it."""
        sock.listen(self.settings.backlog)
        old, self._port = self._port, await open_port(self._admission, sock.dup())
        if old is not None:
            old.close()

    async def begin(self, sock: socket.socket) -> None:
        """Listen on a socket that is bound, whatever was before; what is taken meanwhile is tried for until free."""
        self._close_port(accept=True)
        try:
            start(self.name, sock, self.settings.backlog)
        except GatepostError as error:
            self._lost = True
            if self._log is not None:
                self._log.critical(f"{clean(error.text)}; it is tried again every second")
            return
        await self._open(sock)

    async def _try_again(self) -> None:
        try:
            await self.resume()
        except GatepostError:
            return
        if self._log is not None:
            self._log.info(f"{self.name}: the port is open now")

    async def _open(self, sock: socket.socket) -> None:
        self._lost = False
        self._sock = sock
        self.port = sock.getsockname()[1]
        self._port = await open_port(self._admission, sock.dup())

    async def resume(self) -> None:
        """Open the port, if it is closed. Raises `GatepostError` when it is taken."""
        self._cut_at = None
        if self._port is None:
            settings = self.settings
            sock = listen(self.name, settings.host, self.port, backlog=settings.backlog, reuse_port=settings.reuse_port)
            await self._open(sock)

    def sweep(self, now: float) -> None:
        """Judge every connection's deadlines; `run` does it once a second."""
        if self._cut_at is not None and now >= self._cut_at:
            self._end_all()
        self._admission.note_refused()
        limits = self.settings.timeouts
        for connection in tuple(self._admission.connections):
            machine = connection.machine
            reply = connection.deadline.overdue(machine, limits, now, held_up=not connection.reading)
            if reply is not None:
                connection.end(reply)
            elif machine.state is State.NEW and now - connection.deadline.began >= connection.wait_s:
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

    def _close_port(self, *, accept: bool = False) -> None:
        """Close the port; `accept`: for longer than this process's life, after having taken in who has come to it."""
        port, self._port = self._port, None
        sock, self._sock = self._sock, None
        if port is not None:
            port.close()
        if sock is not None:
            if accept:
                accept_waiting(self._admission, sock)
                activation.withdraw(*sock.getsockname()[:2])
            sock.close()
