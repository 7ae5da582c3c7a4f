"""What passes between the conversation and its session: questions, answers that come later, content, payloads.

Rules

- A session that raises is answered by the `incident` function of the owner; its error never reaches the peer.
- While an answer is owed nothing is read; the first answer counts, a late one is ignored.
- A sink is discarded by the machine until `finished` hands it over, and `aborted` is called for every transaction
  that ends without an answer to its content. `closed` is called once.
- Octets whose count the peer announced are read whatever becomes of them (RFC 3030 4.2): they are never commands.

`ServerMachine` (server.py) derives from this and adds the verbs.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Self, cast

from protocol.reply import Reply
from protocol.smtp.conversation import Collect, ExtensionSession, Later, Peer, Session, TlsInfo
from protocol.smtp.data import BARE, CountedContent, DottedContent
from protocol.smtp.dialect import Dialect
from protocol.smtp.engine import Engine
from protocol.smtp.parameter import TOO_LARGE
from protocol.smtp.states import TRANSACTION, Event, Phase, State

Incident = Callable[[Exception], Reply]

TALKS_FIRST: Final = Reply(554, "5.5.1", "Protocol error: wait for the greeting")
_CHUNK_TAKEN: Final = Reply(250, "2.0.0", "Octets received")
INJECTION: Final = "octets behind STARTTLS"


def _nobody() -> None:
    """Wake no one: the connection is gone."""


class Exchange(Engine):
    """One conversation with its session, from `connect` to `disconnect`."""

    __slots__ = (
        "_content",
        "_dialect",
        "_incident",
        "_left",
        "_payload",
        "_serial",
        "_session",
        "_skip_reply",
        "_verb",
        "_wake",
        "accepted",
        "secure",
    )

    def __init__(self, dialect: Dialect, session: Session[Any], incident: Incident, wake: Callable[[], None]) -> None:
        """Start a conversation; `wake` is called when an answer from outside has made output."""
        super().__init__(dialect.settings, dialect.line_limits, dialect.longest_line)
        self._parse = Exchange._read_before_greeting
        self._verbs = dialect.verbs_clear
        self._dialect = dialect
        self._session = session
        self._incident = incident
        self._wake = wake
        self._content: DottedContent | CountedContent | None = None
        self._left = 0
        self._payload: bytearray | None = None
        self._skip_reply = TOO_LARGE
        self._verb = ""
        self._serial = 0
        self.accepted = 0
        """Messages answered 2yz."""
        self.secure = False

    def connect(self, peer: Peer, tls: TlsInfo | None = None) -> None:
        """Greet; `tls` when the connection began with a handshake (RFC 8314)."""
        if self.state is not State.NEW:
            return
        self._move(Event.CONNECT)
        self._parse = Engine._read_command
        reply = self._ask(self._session.connected, peer)
        if tls is not None:
            self._go_secure()
            judged = self._ask(self._session.secured, tls)
            reply = judged if judged is not None and judged.code >= 400 else reply
        if reply.code >= 400:
            self.refuse(reply)
        else:
            self._say(reply)

    def secured(self, tls: TlsInfo) -> None:
        """Start again after the handshake: nothing that was said before counts (RFC 3207 4.2)."""
        if self.state is not State.HANDSHAKE:
            return
        self._move(Event.SECURED)
        self._go_secure()
        self._parse = Engine._read_command
        reply = self._ask(self._session.secured, tls)
        if reply is not None and reply.code >= 400:
            self.refuse(reply)

    def refuse(self, reply: Reply) -> None:
        """End the conversation with a reply: refusal of the peer, time-out, shutdown."""
        if not self.closed:
            self._send(reply)
            self._close(str(reply))

    def disconnect(self, reason: str) -> None:
        """Learn that the connection is gone; the session hears of it with the first reason there was."""
        self._close(reason)
        self._ask(self._session.closed, self.fault)
        self._wake = _nobody  # the owner refers to the machine: a cycle would keep both until a collection

    @property
    def phase(self) -> Phase:
        """What the machine waits for."""
        if self.stalled_s:
            return Phase.ANSWER
        return _PHASES.get(self._parse, Phase.COMMAND)

    @property
    def sink(self) -> Any:
        """The content sink while content is coming in, else None."""
        return self._content.intake.sink if self._content is not None else None

    def _read_before_greeting(self) -> bool:
        self.refuse(TALKS_FIRST)
        return True

    def _read_in_handshake(self) -> bool:
        """Octets behind STARTTLS came in the clear and must never be read as protected (RFC 3207 5)."""
        self._close(INJECTION)
        return True

    def _go_secure(self) -> None:
        self.secure = True
        self._verbs = self._dialect.verbs_secure

    def _ask(self, question: Callable[..., Any], *arguments: object) -> Any:
        """Ask the session; an error becomes its reply."""
        try:
            return question(*arguments)
        except Exception as error:  # the session boundary: one reply, never the error's text
            return self._incident(error)

    def _conclude(self, reply: Reply | Later, then: Callable[[Self, Reply], None]) -> None:
        """Go on with a reply that is there, or when it comes."""
        if isinstance(reply, Later):
            reply.attach(self._pending(then))
        else:
            then(self, reply)

    def _pending(self, then: Callable[[Self, Any], None]) -> Callable[[Any], None]:
        """Stop reading until the answer comes that is given to what this returns."""
        self._serial += 1
        self._parse = Engine._wait
        return partial(self._resolve, self._serial, then)

    def _resolve(self, serial: int, then: Callable[[Self, Any], None], reply: Any) -> None:
        if serial != self._serial or self.closed:
            return
        self._serial += 1
        self._parse = Engine._read_command
        then(self, reply)
        if not self._busy:
            self.run()
            self._wake()

    def _demand(self, question: Callable[..., Any], *arguments: object, then: Callable[[Self, Any], None]) -> bool:
        """Ask something that is answered by a call, now or later; give False when the session raised."""
        answer = self._pending(then)
        failed = self._ask(question, *arguments, answer)
        if isinstance(failed, Reply):
            answer(failed)
            return False
        return True

    # Content.

    def _read_content(self) -> bool:
        content = self._content
        assert content is not None
        rest = content.feed(self._input[self._at :] if self._at else self._input)
        self._input = b"" if rest is None else rest
        self._at = 0
        if rest is None:
            return False
        self._parse = Engine._read_command
        self._end_content(content)
        return True

    def _end_content(self, content: DottedContent | CountedContent) -> None:
        fault = content.intake.fault
        if isinstance(content, CountedContent) and not content.last and (fault is None or fault is BARE):
            # Bare line ends are refused once, at the end of the message.
            self._move(Event.CHUNK_END)
            (self._say_junk if content.empty else self._say)(_CHUNK_TAKEN)
            return
        if fault is not None:
            self._abort()
            self._move(Event.RESET)
            self._say(fault)
            return
        self._content = None
        self._move(Event.CONTENT_END)
        sink = content.intake.sink
        if not self._demand(self._session.finished, sink, then=Exchange._after_finished):
            sink.discard()

    def _after_finished(self, reply: Reply) -> None:
        self._move(Event.ANSWERED)
        if reply.code < 400:
            self.accepted += 1
            self._errors = self._junk = 0
        self._say(reply)

    def _close(self, reason: str) -> None:
        if self.state in TRANSACTION:
            self._abort()
        super()._close(reason)

    def _abort(self) -> None:
        """Drop the transaction: content first, then the session's part."""
        if self._content is not None:
            self._content.intake.sink.discard()
            self._content = None
        self._ask(self._session.aborted)

    # Octets that are counted and are no content.

    def _skip(self, octets: int, reply: Reply) -> None:
        """Read and forget octets that the peer announced, then reply."""
        self._left = octets
        self._skip_reply = reply
        self._parse = Exchange._read_skipped
        self._read_skipped()

    def _read_skipped(self) -> bool:
        self._consume()
        if self._left:
            return False
        self._parse = Engine._read_command
        if self.state is State.COLLECT:
            self._move(Event.ANSWERED)
        self._say(self._skip_reply)
        return True

    def _consume(self) -> bytes:
        """Take what there is of the octets that are left."""
        piece = self._input[self._at : self._at + self._left]
        self._at += len(piece)
        self._left -= len(piece)
        return piece

    # Verbs of an extension.

    def _extend(self, verb: str, argument: str) -> None:
        self._verb = verb
        self._move(Event.ASK)
        self._demand(cast(ExtensionSession[Any], self._session).extension, verb, argument, then=Exchange._after_asked)

    def _after_asked(self, reply: Reply | Collect) -> None:
        if isinstance(reply, Reply):
            self._move(Event.ANSWERED)
            self._say(reply)
            return
        self._move(Event.COLLECT)
        refusal = TOO_LARGE if reply.octets > self._settings.extension_payload_limit else reply.refusal
        if refusal is not None:
            self._skip(reply.octets, refusal)
            return
        self._left = reply.octets
        self._payload = bytearray()
        self._parse = Exchange._read_payload
        self._read_payload()

    def _read_payload(self) -> bool:
        assert self._payload is not None
        self._payload += self._consume()
        if self._left:
            return False
        payload, self._payload = bytes(self._payload), None
        self._move(Event.ASK)
        session = cast(ExtensionSession[Any], self._session)
        self._demand(session.extension_payload, self._verb, payload, then=Exchange._after_asked)
        return True


_PHASES: Final[Mapping[Callable[[Any], bool], Phase]] = {
    Exchange._read_in_handshake: Phase.ANSWER,
    Exchange._read_content: Phase.CONTENT,
    Exchange._read_skipped: Phase.CONTENT,
    Exchange._read_payload: Phase.CONTENT,
    Engine._wait: Phase.ANSWER,
    Engine._discard: Phase.CLOSED,
}
