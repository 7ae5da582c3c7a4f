"""SMTP machines that let a debug log see what goes through them; those that no log is for are not made here.

`core/smtp/admission.py` makes the server's, `core/smtp/client.py` the client's. Octets are seen in the clear, under
TLS too.
"""

from collections.abc import Callable
from typing import Any

from core.log.debug import InjectionDebug, Recording
from protocol.smtp.client import ClientMachine
from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.conversation import Peer, Session, TlsInfo
from protocol.smtp.dialect import Dialect
from protocol.smtp.exchange import Incident
from protocol.smtp.server import ServerMachine
from protocol.smtp.states import State

_CONTENT = frozenset({State.DATA, State.CHUNK, State.COLLECT})


class WatchedServer(ServerMachine):
    """A conversation that may be recorded, which is decided when it begins."""

    __slots__ = ("_debug", "_of", "_recording")

    def __init__(
        self,
        dialect: Dialect,
        session: Session[Any],
        incident: Incident,
        wake: Callable[[], None],
        debug: InjectionDebug,
    ) -> None:
        super().__init__(dialect, session, incident, wake)
        self._debug = debug
        self._of = session
        self._recording: Recording | None = None

    def connect(self, peer: Peer, tls: TlsInfo | None = None) -> None:
        """Greet, and begin the recording if there is to be one."""
        self._recording = self._debug.begin(peer, self._number)
        super().connect(peer, tls)

    def _number(self) -> int:
        return int(getattr(self._of, "icid", 0))

    def receive(self, data: bytes) -> None:
        """Take octets from the peer."""
        if self._recording is not None:
            self._recording.received(data, content=self.state in _CONTENT)
        super().receive(data)

    def take(self) -> bytes:
        """Give the octets to send."""
        data = super().take()
        if data and self._recording is not None:
            self._recording.sent(data)
        return data

    def disconnect(self, reason: str) -> None:
        """End."""
        if self._recording is not None:
            self._recording.end()
        super().disconnect(reason)


class WatchedClient(ClientMachine):
    """A connection of ours that is recorded."""

    def __init__(self, settings: ClientSettings, recording: Recording, *, tls: TlsUse, secured: bool) -> None:
        super().__init__(settings, tls=tls, secured=secured)
        self._recording = recording

    def receive(self, data: bytes) -> None:
        """Take octets of the peer."""
        self._recording.received(data, content=True)
        super().receive(data)

    def take(self, limit: int = 131_072) -> list[bytes]:
        """Give the octets to send."""
        out = super().take(limit)
        for data in out:
            self._recording.sent(bytes(data))
        return out
