"""The client's side of a connection without its messages: pairing of replies, greeting, EHLO, STARTTLS, QUIT, the end.

`ClientMachine` in `protocol/smtp/client.py` is this with messages and commands; nobody else uses it. The rules of
pairing and of TLS that are written down there are kept here.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar

from protocol.reply import Reply, ReplyParser
from protocol.smtp.client_settings import ClientSettings, TlsUse, offered
from protocol.smtp.client_state import Event, State, after
from protocol.smtp.delivery import Command, Delivery
from protocol.smtp.envelope import command_line
from protocol.smtp.failure import ClientFailure, PeerClosed, ProtocolError, Refused, Stage, TlsError, said

Job = Delivery | Command
Handlers = dict[Stage, Callable[[Any, Reply, Job | None], None]]
"""What is done with a reply, by what it is for."""


def _due(stage: Stage) -> str:
    return f"a {stage}" if stage is Stage.FINAL else f"a reply to {stage}"


class ClientLink:
    """One connection. `tls`: whether to ask for STARTTLS; `secured`: TLS is up before the greeting."""

    _handlers: ClassVar[Handlers]

    def __init__(self, settings: ClientSettings, *, tls: TlsUse = TlsUse.NEVER, secured: bool = False) -> None:
        self.state = State.GREETING
        self.offers: dict[str, str] = {}
        """EHLO keywords in upper case with their parameters."""
        self.error: ClientFailure | None = None
        """Why the connection ended; None while it is open and after a regular QUIT."""
        self.turns = 0
        """Grows with each whole reply and each piece sent: octets that complete nothing are no progress."""
        self._settings = settings
        self._tls = tls
        self._secured = secured
        self._hello = command_line(f"EHLO {settings.helo}")
        self._parser = ReplyParser()
        self._out: list[bytes] = []
        self._expected: deque[tuple[Stage, Job | None]] = deque([(Stage.GREETING, None)])
        self._due = 1
        """How many of `_expected` may be answered: their commands have been taken for sending."""
        self._open: deque[Job] = deque()
        self._pipelining = False
        self._chunking = False

    @property
    def stage(self) -> Stage:
        """What is being waited for: it chooses the time-out."""
        if self._expected:
            return self._expected[0][0]
        if self.state is State.HANDSHAKE:
            return Stage.TLS
        return Stage.CONTENT if self.state is State.CONTENT else Stage.IDLE

    @property
    def ready(self) -> bool:
        """Whether a job can be sent at once: all is answered, and not even half a reply has come beyond that."""
        return self.state is State.READY and self._parser.idle

    def quit(self) -> bool:
        """Say QUIT. False if the machine is busy or closed, and there is nothing to wait for."""
        if self.state is not State.READY:
            return False
        self._move(Event.LEAVE)
        self._send(b"QUIT\r\n", Stage.QUIT)
        return True

    def receive(self, data: bytes) -> None:
        """Take octets of the peer."""
        if self.stage is Stage.TLS:
            self._injected()
        for reply in self._parser.feed(data):
            self._take_reply(reply)
        if self._parser.fault is not None:
            self.fail(ProtocolError(f"{self._parser.fault}, where {self._awaited} was due", self.stage))
        elif self.stage is Stage.TLS and not self._parser.idle:
            self._injected()

    def tls_done(self) -> None:
        """Note that the handshake is through: greet again, knowing nothing (RFC 3207 4.2)."""
        self._move(Event.TLS_DONE)
        self._secured = True
        self.offers = {}
        self._parser = ReplyParser()
        self._send(self._hello, Stage.EHLO)

    def peer_closed(self, reason: str = "the peer closed the connection") -> None:
        """Note that nothing more will come."""
        if self.state is State.QUIT:
            self._move(Event.END_OF_CONNECTION)
        elif self._secured and self.state in (State.GREETING, State.HELLO):
            # A TLS 1.3 server judges our certificate after our side of the handshake is through.
            self.fail(TlsError("the peer refused our certificate: it closed right after the handshake", Stage.TLS))
        else:
            self.fail(PeerClosed(reason, self.stage))

    def fail(self, error: ClientFailure) -> None:
        """Give the connection up: every job gets its result now."""
        if self.state is State.CLOSED:
            return
        self._move(Event.END_OF_CONNECTION)
        self.error = error
        self._out = []
        stages = {id(job): stage for stage, job in reversed(self._expected)}
        jobs, self._open = self._open, deque()
        for job in jobs:
            job.break_off(error, stages.get(id(job), error.stage))
        self._expected.clear()
        self._drop_waiting(error)

    def _drop_waiting(self, error: ClientFailure) -> None:
        """Give the jobs that were never begun their result."""

    def _advance(self) -> None:
        """Begin what waits, as far as that is possible now."""

    def _move(self, event: Event) -> None:
        self.state = after(self.state, event)

    def _send(self, data: bytes, stage: Stage, job: Job | None = None) -> None:
        self._out.append(data)
        self._expected.append((stage, job))

    # Pairing

    @property
    def _awaited(self) -> str:
        return _due(self._expected[0][0]) if self._due and self._expected else "nothing"

    def _injected(self) -> None:
        self.fail(ProtocolError("sent more in the clear after its reply to STARTTLS", Stage.STARTTLS))

    def _fault(self, reply: Reply, stage: Stage) -> None:
        self.fail(ProtocolError(f"answered {said(reply)}, where {_due(stage)} was due", stage))

    def _take_reply(self, reply: Reply) -> None:
        if self.state is State.CLOSED:
            return
        self.turns += 1
        if not self._due:
            self._unexpected(reply)
            return
        self._due -= 1
        stage, job = self._expected[0]
        if reply.code == 421 and stage is not Stage.QUIT:
            self._peer_leaves(reply, stage)
        elif 300 <= reply.code < 400 and stage not in (Stage.DATA, Stage.COMMAND):
            self._fault(reply, stage)
        else:
            self._expected.popleft()
            self._handlers[stage](self, reply, job)

    def _unexpected(self, reply: Reply) -> None:
        if reply.code == 421:
            self._peer_leaves(reply, self.stage)
        else:
            self.fail(ProtocolError(f"sent {said(reply)}, where nothing was due", self.stage))

    def _peer_leaves(self, reply: Reply, stage: Stage) -> None:
        if self._open and isinstance(self._open[0], Delivery):
            self._open[0].refuse(reply, stage)
        self.fail(Refused(reply, stage))

    # The opening and the end

    def _on_greeting(self, reply: Reply, _job: Job | None) -> None:
        if reply.code == 220:
            self._move(Event.GREETED)
            self._send(self._hello, Stage.EHLO)
        elif reply.code >= 400:
            self.fail(Refused(reply, Stage.GREETING))
        else:
            self._fault(reply, Stage.GREETING)

    def _on_hello(self, reply: Reply, _job: Job | None) -> None:
        extended = self._hello.startswith(b"EHLO")
        if reply.code >= 500 and extended and not self._secured:
            self._hello = b"HELO" + self._hello[4:]
            self._move(Event.NO_EHLO)
            self._send(self._hello, Stage.EHLO)
        elif reply.code >= 400:
            self.fail(Refused(reply, Stage.EHLO))
        else:
            self.offers = offered(reply) if extended else {}
            self._greeted()

    def _greeted(self) -> None:
        self._pipelining = self._settings.pipelining and "PIPELINING" in self.offers
        self._chunking = self._settings.chunking and "CHUNKING" in self.offers
        if self._secured or self._tls is TlsUse.NEVER:
            self._ready()
        elif "STARTTLS" in self.offers:
            self._move(Event.ASK_TLS)
            self._send(b"STARTTLS\r\n", Stage.STARTTLS)
        elif self._tls is TlsUse.REQUIRED:
            self.fail(TlsError("TLS is required and the peer does not offer STARTTLS", Stage.EHLO))
        else:
            self._ready()

    def _on_starttls(self, reply: Reply, _job: Job | None) -> None:
        if reply.code == 220:
            self._move(Event.TLS_GRANTED)
        elif self._tls is TlsUse.REQUIRED:
            text = f"TLS is required and the peer answered {reply.code} to STARTTLS"
            self.fail(TlsError(text, Stage.STARTTLS, passing=reply.code < 500))
        elif reply.code >= 400:
            self._ready()
        else:
            self._fault(reply, Stage.STARTTLS)

    def _ready(self) -> None:
        self._move(Event.OPEN)
        self._advance()

    def _on_quit(self, _reply: Reply, _job: Job | None) -> None:
        self._move(Event.END_OF_CONNECTION)


OPENING: Handlers = {
    Stage.GREETING: ClientLink._on_greeting,
    Stage.EHLO: ClientLink._on_hello,
    Stage.STARTTLS: ClientLink._on_starttls,
    Stage.QUIT: ClientLink._on_quit,
}
