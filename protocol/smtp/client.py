"""The SMTP client as a machine: octets of the peer in, octets for the peer and results out (RFC 5321, 2920, 3030).

Driven by `core/smtp/client.py`. It knows no socket, no clock and no policy, and `receive` never raises for what a peer
does: a fault ends the connection, every job in hand gets its result, and all later input is discarded.

Rules
-----
* Every reply belongs to the oldest command without one. A reply that comes before its command was sent, or of a class
  that its command cannot have, means that the pairing is lost: the connection is given up and no reply of the open
  transaction counts. The exception is 421 on an idle connection: the peer just leaves.
* By DATA no content is sent but after a 354, and there is a final dot only if the content was read to its end.
* By BDAT no 354 shows that the pairing holds: it is used where the enhanced codes of RCPT and of content can be told
  apart, and a reply to content that could be one to RCPT is a fault. The last chunk goes out only if the content was
  read to its end.
* A transaction that ends without content, or with a refused chunk, is closed by RSET. Its result is held until RSET is
  answered 2yz: had a late or doubled reply shifted the pairing, it would show there.
* Nothing may follow the 220 to STARTTLS in the clear; whatever was learnt before TLS is forgotten.
* A command line that we send is one line; content never holds CR or LF outside CRLF, but for BINARYMIME.

Theory of operation
-------------------
`_expected` holds what each outstanding reply is for, in order; `_open` the jobs begun, `_waiting` those submitted.
`state` follows the sending side only. With PIPELINING an envelope goes out as one write (MAIL, RCPT…, DATA), without
it line by line. If a job is waiting when the final dot goes out, its envelope follows in the same write (RFC 2920
3.1 lets content be the first of a group), so that a busy connection costs one write and one read per message.
With CHUNKING there is no DATA: chunks follow the replies to the envelope. After one message has shown that the peer's
replies can be told apart, a small one goes out with its envelope, MAIL, RCPT…, BDAT LAST, in one write.
"""

from collections import deque
from collections.abc import Callable
from itertools import repeat
from typing import ClassVar

from protocol.errors import PermanentFailure
from protocol.reply import Reply
from protocol.smtp.chunking import may_answer_content, names_recipient, not_understood
from protocol.smtp.client_link import OPENING, ClientLink, Handlers, Job
from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.client_state import Event, State
from protocol.smtp.content import BareNewline
from protocol.smtp.delivery import BARE_NEWLINE, Command, Delivery
from protocol.smtp.envelope import command_line
from protocol.smtp.failure import ClientFailure, LocalError, PeerClosed, ProtocolError, Stage, said
from protocol.smtp.transaction import Transaction, TransactionResult

_WHOLE = 1 << 30


class ClientMachine(ClientLink):
    """One connection. `tls`: whether to ask for STARTTLS; `secured`: TLS is up before the greeting."""

    def __init__(self, settings: ClientSettings, *, tls: TlsUse = TlsUse.NEVER, secured: bool = False) -> None:
        super().__init__(settings, tls=tls, secured=secured)
        self._waiting: deque[Job] = deque()
        self._lines: deque[bytes] = deque()
        self._tells_apart = False
        """A message was taken with codes that tell the replies to recipients and to content apart."""

    def submit(self, transaction: Transaction, done: Callable[[TransactionResult], None]) -> None:
        """Queue a message. `done` is called once, maybe at once, whatever happens."""
        self._enqueue(Delivery(transaction, done))

    def command(self, line: str, payload: bytes, done: Callable[[Reply | ClientFailure], None]) -> None:
        """Queue a command with an optional payload whose length the line tells, answered by one reply.

        Raises `ValueError` if `line` is not one line of printable ASCII.
        """
        self._enqueue(Command(command_line(line) + payload, done))

    def take(self, limit: int = 131_072) -> list[bytes]:
        """Give the octets to send now; of content about `limit` at a time. Empty: nothing more until an event."""
        if self.state is State.CONTENT and (self._pipelining or not self._expected):
            self._pull(limit)
        out = self._out
        if out:
            self._out = []
            self._due = len(self._expected)
            self.turns += 1
        return out

    # Sending

    def _drop_waiting(self, error: ClientFailure) -> None:
        jobs, self._waiting = self._waiting, deque()
        for job in jobs:
            job.break_off(error, Stage.IDLE)

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
            # A refused chunk has to be followed by RSET (RFC 3030 2), so nothing goes out behind one.
            return overlap and isinstance(last, Delivery) and last.content_sent and not last.chunked
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
        if not self._pipelining:
            self._send(lines[0], Stage.MAIL, delivery)
            self._lines = deque(lines[1:])
            return
        recipients = len(lines) - 1
        self._expected.append((Stage.MAIL, delivery))
        self._expected.extend(repeat((Stage.RCPT, delivery), recipients))
        if not self._chunking:
            lines.append(b"DATA\r\n")
            self._expected.append((Stage.DATA, delivery))
        self._out.append(b"".join(lines))
        if self._chunking and self._tells_apart and delivery.early:
            self._begin_chunks(delivery)
            self._pull(_WHOLE)

    def _step(self, delivery: Delivery) -> None:
        """Go on with an envelope whose replies are all there: where lines go one by one, or before the chunks."""
        if self._expected and self._expected[0][1] is delivery:
            return
        if not delivery.accepted:
            self._abandon(delivery)
        elif self._lines:
            self._send(self._lines.popleft(), Stage.RCPT, delivery)
        elif delivery.binary or (self._chunking and delivery.distinct):
            self._begin_chunks(delivery)
        else:
            self._send(b"DATA\r\n", Stage.DATA, delivery)

    def _begin_chunks(self, delivery: Delivery) -> None:
        delivery.begin_content(convert=self._settings.convert_bare_newlines, chunked=True)
        self._move(Event.GO_AHEAD)

    def _abandon(self, delivery: Delivery) -> None:
        self._lines.clear()
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
            elif delivery.chunked:
                self._expected.append((Stage.CHUNK, delivery))

    # Receiving

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

    def _on_chunk(self, reply: Reply, job: Job | None) -> None:
        assert isinstance(job, Delivery)
        if not_understood(reply) and not (job.refused or job.binary):
            self._misfit(reply, job, Stage.CHUNK)
        elif reply.code >= 400:
            job.refuse(reply, Stage.CONTENT)
            if self.state is State.CONTENT:
                self._abandon(job)
        elif job.refused or not self._fits(reply, job):
            self._misfit(reply, job, Stage.CHUNK)

    def _on_final(self, reply: Reply, job: Job | None) -> None:
        assert isinstance(job, Delivery)
        if job.chunked:
            self._on_last_chunk(reply, job)
            return
        if job.content_sent:
            job.answer_final(reply)
            self._learn(reply, job)
        if self.state is State.FINAL:
            self._move(Event.ANSWERED)
        self._close(job)

    def _on_last_chunk(self, reply: Reply, job: Delivery) -> None:
        accepted = bool(job.accepted)
        if not self._fits(reply, job) if accepted else reply.code < 400:
            self._misfit(reply, job, Stage.FINAL)
        elif reply.code < 400:
            job.answer_final(reply)
            self._learn(reply, job)
            self._move(Event.ANSWERED)
            self._close(job)
        else:
            if accepted:
                job.answer_final(reply)
            self._abandon(job)

    def _fits(self, reply: Reply, job: Delivery) -> bool:
        """Tell whether a reply is certainly one to content; to binary content there is no other way."""
        return job.binary or (job.distinct and may_answer_content(reply))

    def _misfit(self, reply: Reply, job: Delivery, stage: Stage) -> None:
        self._expected.appendleft((stage, job))
        text = f"answered {said(reply)}, which may be no reply to the content, where one to BDAT was due"
        self.fail(ProtocolError(text, stage))

    def _learn(self, reply: Reply, job: Delivery) -> None:
        if not self._tells_apart and reply.code < 300:
            self._tells_apart = job.distinct and reply.enhanced != "" and not names_recipient(reply)

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

    _handlers: ClassVar[Handlers] = {
        **OPENING,
        Stage.MAIL: _on_mail,
        Stage.RCPT: _on_rcpt,
        Stage.DATA: _on_data,
        Stage.CHUNK: _on_chunk,
        Stage.FINAL: _on_final,
        Stage.RSET: _on_reset,
        Stage.COMMAND: _on_command,
    }
