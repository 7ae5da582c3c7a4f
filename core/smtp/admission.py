"""What the connections of one listener share: who may come in, how a machine is made, what is said about errors.

Made by the listener, used by `core/smtp/connection.py`. Logs incidents of sessions and injection attempts.
"""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from core import diagnostic
from core.maillog import MailLog, clean
from core.smtp.door import BUSY, OPEN, Door
from core.smtp.session import SessionFactory
from core.smtp.settings import ListenerSettings
from core.smtp.watched import WatchedServer
from protocol.errors import MailError
from protocol.reply import Reply
from protocol.smtp.exchange import INJECTION
from protocol.smtp.server import ServerMachine, make_dialect
from protocol.smtp.xclient import EXTENSION as XCLIENT

if TYPE_CHECKING:
    from core.smtp.connection import Connection

FULL: Final = Reply(421, "4.4.5", "#4.4.5 Too many connections to this host.").encode()
FULL_FOR_ADDRESS: Final = Reply(421, "4.4.5", "#4.4.5 Too many connections from your host.").encode()


class Admission:
    """The connections of one listener, counted, and what they are made of."""

    def __init__(
        self,
        settings: ListenerSettings,
        session_factory: SessionFactory,
        tls: Callable[[], ssl.SSLContext] | None,
        log: MailLog | None,
        door: Door = OPEN,
    ) -> None:
        self.connections: set[Connection] = set()
        self.loop: asyncio.AbstractEventLoop
        self._by_address: Counter[str] = Counter()
        self._refused = 0
        self.turned_away = 0
        """Connections that were refused since the start."""
        self._tls = tls
        self.follow(settings, session_factory, door)
        self._log = log

    def follow(self, settings: ListenerSettings, session_factory: SessionFactory, door: Door) -> None:
        """Go by these from the next connection on; those in progress keep their sessions and dialects."""
        self.settings = settings
        self.door = door
        self._dialect = make_dialect(settings.server)
        server = replace(settings.server, xclient=True, extensions=(*settings.server.extensions, XCLIENT))
        self._dialect_of_listed = make_dialect(server)
        self._session_factory = session_factory

    @property
    def full(self) -> bool:
        """Whether no more connections are taken."""
        return 0 < self.settings.max_connections <= len(self.connections)

    def admit(self, connection: "Connection", host: str) -> bytes | None:
        """Count a connection, or give the refusal to send."""
        refusal = self._refusal(host)
        if refusal is None:
            self.connections.add(connection)
            self._by_address[host] += 1
        else:
            self._refused += 1
            self.turned_away += 1
        return refusal

    def _refusal(self, host: str) -> bytes | None:
        if self.door.brake is not None and self.door.brake.refusing:
            return BUSY
        if self.full:
            return FULL
        if 0 < self.settings.max_per_address <= self._by_address[host]:
            return FULL_FOR_ADDRESS
        return None

    def note_refused(self) -> None:
        """Log how many were turned away since the last call: a line for each would make a flood of its own."""
        if self._refused and self._log is not None:
            count, self._refused = self._refused, 0
            self._log.info(f"SMTP {self.settings.name}: {count} connections refused with 421")

    def forget(self, connection: "Connection", host: str) -> None:
        """Stop counting a connection."""
        self.connections.discard(connection)
        self._by_address[host] -= 1
        if self._by_address[host] <= 0:
            del self._by_address[host]

    def make_machine(self, wake: Callable[[], None], *, listed: bool = False) -> ServerMachine:
        """Make the machine of one connection, with a session of its own; `listed`: its peer may use XCLIENT."""
        dialect = self._dialect_of_listed if listed else self._dialect
        debug = self.door.debug
        if debug is not None and debug.active:
            return WatchedServer(dialect, self._session_factory(), self.incident, wake, debug)
        return ServerMachine(dialect, self._session_factory(), self.incident, wake)

    def tls_context(self) -> ssl.SSLContext:
        """Give the context for the next handshake. Raises `ConnectionError` when there is none."""
        if self._tls is None:
            raise ConnectionError("no certificate is configured")
        return self._tls()

    def incident(self, error: Exception) -> Reply:
        """Give the reply for an error of a session; what was not foreseen gets an id that the log explains."""
        if isinstance(error, MailError):
            return error.reply
        name = self.settings.name
        number = diagnostic.incident(f"listener {name}", error)
        if self._log is not None:
            self._log.warning(f"SMTP incident {number} on {name}: {clean(repr(error))}")
        return Reply(451, "4.3.0", f"Internal error, incident {number}")

    def note_end(self, host: str, fault: str) -> None:
        """Log a conversation that was ended from this side, where an operator may want to know."""
        if fault == INJECTION and self._log is not None:
            self._log.warning(f"SMTP {self.settings.name}: {host} dropped: {fault}, which is an injection attempt")

    def note_slowed(self, host: str) -> None:
        """Log, once for a connection, that its replies wait from here on."""
        if self._log is not None:
            self._log.info(f"SMTP {self.settings.name}: {host} has made many errors, its replies are delayed")

    def note_opening(self, host: str, fault: str) -> None:
        """Log a connection that ended before its conversation: no session has begun that could."""
        if self._log is not None:
            self._log.info(f"SMTP {self.settings.name}: {host} {clean(fault)}")
