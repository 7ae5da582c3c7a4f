"""The SMTP listener: a service that binds a port, admits connections within limits and sweeps their deadlines.

A daemon root makes one per configured listener, with a factory of sessions. `suspend` closes the port and, after a
delay, what is still connected; `resume` opens it again. On stopping the port closes, idle connections are told
421 at once, the others when their message is through; what is left at the end of the grace is told 421 and cut.
Raises `GatepostError` (69) when the address cannot be bound. What belongs to a message is the session's to log.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from core import clock
from core.lifecycle import Scope
from core.maillog import MailLog
from core.port import listen
from core.smtp.admission import Admission
from core.smtp.deadline import is_idle
from core.smtp.door import OPEN, Door
from core.smtp.port import Port, open_port
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
        self._cut_at: float | None = None
        self._begin_suspended = suspended

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

    def follow(self, settings: ListenerSettings, session_factory: SessionFactory, door: Door) -> bool:
        """Go by new settings from the next connection on; False if the port itself would have to be another."""
        old, known = self.settings, self._admission.door
        port = (old.host, old.port, old.backlog, old.implicit_tls, known.speaks_proxy is None)
        same = port == (
            settings.host,
            settings.port,
            settings.backlog,
            settings.implicit_tls,
            door.speaks_proxy is None,
        )
        if not same:
            settings = replace(
                settings, host=old.host, port=old.port, backlog=old.backlog, implicit_tls=old.implicit_tls
            )
        self.settings = settings
        self._admission.follow(settings, session_factory, door)
        return same

    async def resume(self) -> None:
        """Open the port, if it is closed. Raises `GatepostError` when it is taken."""
        self._cut_at = None
        if self._port is None:
            settings = self.settings
            sock = listen(self.name, settings.host, self.port, backlog=settings.backlog, reuse_port=settings.reuse_port)
            self.port = sock.getsockname()[1]
            self._port = await open_port(self._admission, sock)

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

    def _close_port(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            port.close()


def _port(settings: ListenerSettings, door: Door) -> tuple[object, ...]:
    """Give what an open port cannot change."""
    return settings.host, settings.port, settings.backlog, settings.implicit_tls, door.speaks_proxy is None
