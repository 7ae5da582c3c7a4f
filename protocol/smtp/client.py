"""The SMTP client as a machine: octets of the peer in, octets for the peer and results out (RFC 5321, 2920, 3207).

Driven by `core/smtp/client.py`. It knows no socket, no clock and no policy, and `receive` never raises for what a peer
does: a fault ends the connection, every job in hand gets its result, and all later input is discarded.

Rules
-----
* Every reply belongs to the oldest command without one. A reply that comes before its command was sent, or of a class
  that its command cannot have, means that the pairing is lost: the connection is given up and no reply of the open
  transaction counts. The exception is 421 on an idle connection: the peer just leaves.
* No content is sent but after a 354 to our DATA, and there is a final dot only if the content was read to its end.
* A transaction that ends without content is closed by RSET. Its result is held until RSET is answered 2yz: had a
  late or doubled reply shifted the pairing, it would show there.
* Nothing may follow the 220 to STARTTLS in the clear; whatever was learnt before TLS is forgotten.
* A command line that we send is one line; content never holds CR or LF outside CRLF.

Theory of operation
-------------------
`_expected` holds what each outstanding reply is for, in order; `_open` the jobs begun, `_waiting` those submitted.
`state` follows the sending side only. With PIPELINING an envelope goes out as one write (MAIL, RCPT…, DATA), without
it line by line. If a job is waiting when the final dot goes out, its envelope follows in the same write (RFC 2920
3.1 lets content be the first of a group), so that a busy connection costs one write and one read per message.
Content leaves by DATA only; BDAT (RFC 3030) would take the place of `_on_data` and `Delivery.read`.
"""

from collections import deque
from collections.abc import Callable
from itertools import repeat

from protocol.errors import PermanentFailure
from protocol.reply import Reply, ReplyParser
from protocol.smtp.client_settings import ClientSettings, TlsUse, offered
from protocol.smtp.client_state import Event, State, after
from protocol.smtp.content import BareNewline
from protocol.smtp.delivery import BARE_NEWLINE, Command, Delivery
from protocol.smtp.envelope import command_line
from protocol.smtp.failure import (
    ClientFailure,
    LocalError,
    PeerClosed,
    ProtocolError,
    Refused,
    Stage,
    TlsError,
)
from protocol.smtp.transaction import Transaction, TransactionResult

Job = Delivery | Command


class ClientMachine:
    """One connection. `tls`: whether to ask for STARTTLS; `secured`: TLS is up before the greeting."""

    def __init__(self, settings: ClientSettings, *, tls: TlsUse = TlsUse.NEVER, secured: bool = False) -> None:
        self.state = State.GREETING
        self.offers: dict[str, str] = {}
        """EHLO keywords in upper case with their parameters."""
        self.error: ClientFailure | None = None
        """Why the connection ended; None while it is open and after a regular QUIT."""
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
        self._waiting: deque[Job] = deque()
        self._lines: deque[bytes] = deque()
        self._pipelining = False

    @property
    def stage(self) -> Stage:
        """What is being waited for: it chooses the time-out."""
        if self._expected:
            return self._expected[0][0]
        if self.state is State.HANDSHAKE:
            return Stage.TLS
        return Stage.CONTENT if self.state is State.CONTENT else Stage.IDLE

    def submit(self, transaction: Transaction, done: Callable[[TransactionResult], None]) -> None:
        """Queue a message. `done` is called once, maybe at once, whatever happens."""
        self._enqueue(Delivery(transaction, done))

    def command(self, line: str, payload: bytes, done: Callable[[Reply | ClientFailure], None]) -> None:
        """Queue a command with an optional payload whose length the line tells, answered by one reply.

        Raises `ValueError` if `line` is not one line of printable ASCII.
        """
        self._enqueue(Command(command_line(line) + payload, done))

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
            self.fail(ProtocolError(self._parser.fault, self.stage))
        elif self.stage is Stage.TLS and not self._parser.idle:
            self._injected()

    def take(self, limit: int = 131_072) -> list[bytes]:
        """Give the octets to send now; of content about `limit` at a time. Empty: nothing more until an event."""
        if self.state is State.CONTENT:
            self._pull(limit)
        out = self._out
        if out:
            self._out = []
            self._due = len(self._expected)
        return out

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
        jobs, self._waiting = self._waiting, deque()
        for job in jobs:
            job.break_off(error, Stage.IDLE)

    # Sending

    def _move(self, event: Event) -> None:
        self.state = after(self.state, event)

    def _send(self, data: bytes, stage: Stage, job: Job | None = None) -> None:
        self._out.append(data)
        self._expected.append((stage, job))

    def _enqueue(self, job: Job) -> None:
        if self.state in (State.CLOSED, State.QUIT):
            job.break_off(self.error or PeerClosed("the connection was closed before", Stage.IDLE), Stage.IDLE)
            return
        self._waiting.append(job)
        self._advance()

    def _advance(self) -> None:
        waiting = self._waiting
        while waiting and self._may_begin(waiting[0]):
            job = waiting.popleft()
            if isinstance(job, Delivery):
                self._begin(job)
            else:
                self._move(Event.ASK)
                self._open.append(job)
                self._send(job.data, Stage.COMMAND, job)

    def _may_begin(self, job: Job) -> bool:
        if self.state is State.FINAL:
            last = self._open[-1]
            overlap = self._pipelining and self._settings.overlap and isinstance(job, Delivery)
            return overlap and isinstance(last, Delivery) and last.content_sent
        return self.state is State.READY

    def _begin(self, delivery: Delivery) -> None:
        try:
            lines = delivery.plan(self.offers)
        except PermanentFailure as problem:
            delivery.refuse(problem.reply, Stage.MAIL)
            delivery.finish()
            return
        self._move(Event.BEGIN)
        self._open.append(delivery)
        if self._pipelining:
            recipients = len(lines) - 1
            lines.append(b"DATA\r\n")
            self._out.append(b"".join(lines))
            self._expected.append((Stage.MAIL, delivery))
            self._expected.extend(repeat((Stage.RCPT, delivery), recipients))
            self._expected.append((Stage.DATA, delivery))
        else:
            self._send(lines[0], Stage.MAIL, delivery)
            self._lines = deque(lines[1:])

    def _step(self, delivery: Delivery) -> None:
        """Send the next line of an envelope, where lines go one by one."""
        if self._pipelining:
            return
        if not delivery.accepted:
            self._abandon(delivery)
        elif self._lines:
            self._send(self._lines.popleft(), Stage.RCPT, delivery)
        else:
            self._send(b"DATA\r\n", Stage.DATA, delivery)

    def _abandon(self, delivery: Delivery) -> None:
        self._move(Event.ABANDON)
        self._send(b"RSET\r\n", Stage.RSET, delivery)

    def _pull(self, limit: int) -> None:
        """Read content until `limit` octets are waiting or it has ended."""
        delivery = self._open[-1]
        assert isinstance(delivery, Delivery)
        try:
            self._out += delivery.read(limit)
        except BareNewline:
            delivery.refuse(BARE_NEWLINE, Stage.CONTENT)
            self.fail(LocalError("the message holds bare CR or LF", Stage.CONTENT))
        except Exception as problem:
            # The content is the caller's: whatever it raises, no final dot may follow.
            self.fail(LocalError(f"the content could not be read: {problem}", Stage.CONTENT))
        else:
            if delivery.content_sent:
                self._move(Event.END)
                self._expected.append((Stage.FINAL, delivery))
                self._advance()

    # Receiving

    def _injected(self) -> None:
        self.fail(ProtocolError("sent more in the clear after its reply to STARTTLS", Stage.STARTTLS))

    def _fault(self, reply: Reply, stage: Stage) -> None:
        self.fail(ProtocolError(f"answered {reply.code}, which is no reply to {stage}", stage))

    def _take_reply(self, reply: Reply) -> None:
        if self.state is State.CLOSED:
            return
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
            _HANDLERS[stage](self, reply, job)

    def _unexpected(self, reply: Reply) -> None:
        if reply.code == 421:
            self._peer_leaves(reply, self.stage)
        else:
            self.fail(ProtocolError(f"sent {reply.code} when no reply was due", self.stage))

    def _peer_leaves(self, reply: Reply, stage: Stage) -> None:
        if self._open and isinstance(self._open[0], Delivery):
            self._open[0].refuse(reply, stage)
        self.fail(Refused(reply, stage))

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
            self.fail(TlsError(f"TLS is required and the peer answered {reply.code} to STARTTLS", Stage.STARTTLS))
        elif reply.code >= 400:
            self._ready()
        else:
            self._fault(reply, Stage.STARTTLS)

    def _ready(self) -> None:
        self._move(Event.OPEN)
        self._advance()

    def _on_mail(self, reply: Reply, job: Job | None) -> None:
        assert isinstance(job, Delivery)
        if reply.code >= 400:
            job.refuse(reply, Stage.MAIL)
        self._step(job)

    def _on_rcpt(self, reply: Reply, job: Job | None) -> None:
        assert isinstance(job, Delivery)
        job.answer_rcpt(reply)
        self._step(job)

    def _on_data(self, reply: Reply, job: Job | None) -> None:
        assert isinstance(job, Delivery)
        if reply.code >= 400:
            job.refuse(reply, Stage.DATA)
            self._abandon(job)
        elif reply.code != 354:
            self._expected.appendleft((Stage.DATA, job))
            self._fault(reply, Stage.DATA)
        elif job.accepted:
            job.begin_content(convert=self._settings.convert_bare_newlines)
            self._move(Event.GO_AHEAD)
        else:
            # The peer wants content for nobody (RFC 2920 3.1): the lone dot ends it.
            self._move(Event.LONE_DOT)
            self._send(b".\r\n", Stage.FINAL, job)

    def _on_final(self, reply: Reply, job: Job | None) -> None:
        assert isinstance(job, Delivery)
        if job.content_sent:
            job.answer_final(reply)
        if self.state is State.FINAL:
            self._move(Event.ANSWERED)
        self._close(job)

    def _on_reset(self, reply: Reply, job: Job | None) -> None:
        if reply.code >= 400:
            self._expected.appendleft((Stage.RSET, job))
            self._fault(reply, Stage.RSET)
            return
        assert isinstance(job, Delivery)
        self._move(Event.CLEARED)
        self._close(job)

    def _close(self, delivery: Delivery) -> None:
        self._open.popleft()
        delivery.finish()
        self._advance()

    def _on_command(self, reply: Reply, job: Job | None) -> None:
        assert isinstance(job, Command)
        self._open.popleft()
        self._move(Event.TOLD)
        job.done(reply)
        self._advance()

    def _on_quit(self, _reply: Reply, _job: Job | None) -> None:
        self._move(Event.END_OF_CONNECTION)


_HANDLERS: dict[Stage, Callable[[ClientMachine, Reply, Job | None], None]] = {
    Stage.GREETING: ClientMachine._on_greeting,
    Stage.EHLO: ClientMachine._on_hello,
    Stage.STARTTLS: ClientMachine._on_starttls,
    Stage.MAIL: ClientMachine._on_mail,
    Stage.RCPT: ClientMachine._on_rcpt,
    Stage.DATA: ClientMachine._on_data,
    Stage.FINAL: ClientMachine._on_final,
    Stage.RSET: ClientMachine._on_reset,
    Stage.COMMAND: ClientMachine._on_command,
    Stage.QUIT: ClientMachine._on_quit,
}
