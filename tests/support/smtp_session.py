"""A small session for tests of the SMTP server: it accepts, keeps what it got, and refuses by name.

A local part that starts with three digits is answered with that code (`550-x@…`, `421@…`); `later@…` is answered
after the current event is over; `raise@…` raises. Content is kept in `Recorder.messages`.
The user `user` logs in with the password `pencil` (the example of RFC 7677 3, whose nonce the server has).
"""

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol.address import Path
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from protocol.smtp import sasl
from protocol.smtp.conversation import Answer, Challenge, Collect, ExtensionAnswer, Later, Peer, TlsInfo

OK = Reply(250, "2.1.0", "Ok")
LOGGED_IN = Reply(235, "2.7.0", "Authentication succeeded")
NOT_LOGGED_IN = Reply(535, "5.7.8", "Authentication failed")
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
VERIFIER = sasl.make_verifier("pencil", b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)


class Octets:
    """A content sink in memory."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.discarded = False

    def write(self, chunk: bytes) -> None:
        assert not self.discarded
        self.pieces.append(chunk)

    def discard(self) -> None:
        self.discarded = True

    @property
    def octets(self) -> bytes:
        return b"".join(self.pieces)


@dataclass
class Recorder:
    """What all sessions of one test were told."""

    messages: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    parameters: list[Mapping[str, str | None]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    sinks: list[Octets] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    defer: Callable[[Callable[[], None]], None] = lambda act: act()
    """How an answer that comes later is called; at once unless a test says otherwise."""
    greeting: Reply = field(default_factory=lambda: Reply(220, "", "mx.example.test ESMTP"))
    make_sink: Callable[[], Any] = Octets

    def session(self) -> "RecordingSession":
        return RecordingSession(self)


class RecordingSession:
    """Accepts what its peers send and writes it down."""

    def __init__(self, recorder: Recorder) -> None:
        self._book = recorder
        self._sender = ""
        self._recipients: list[str] = []

    def connected(self, peer: Peer) -> Reply:
        self._book.events.append("connected")
        return self._book.greeting

    def greeted(self, name: str, extended: bool) -> Reply | None:
        self._book.events.append(f"greeted {name}")
        return Reply(550, "5.7.1", "Not you") if name == "unwanted.test" else None

    def secured(self, tls: TlsInfo) -> Reply | None:
        self._book.events.append(f"secured {tls.version}")
        return None

    def mail(self, sender: Path, parameters: Mapping[str, str | None]) -> Reply | Later:
        self._sender = sender.text
        self._recipients = []
        self._book.parameters.append(parameters)
        return self._judge(sender)

    def rcpt(self, recipient: Path, parameters: Mapping[str, str | None]) -> Reply | Later:
        reply = self._judge(recipient)
        if isinstance(reply, Later) or reply.code < 400:
            self._recipients.append(recipient.text)
        return reply

    def _judge(self, path: Path) -> Reply | Later:
        local = path.local
        if local[:3].isdigit():
            return Reply(int(local[:3]), f"{local[0]}.1.1", "As you asked")
        if local == "later":
            later = Later()
            self._book.defer(lambda: later.answer(OK))
            return later
        if local == "raise":
            raise RuntimeError("secret detail")
        return OK

    def message(self, size_hint: int | None) -> Any:
        if self._sender.startswith("full@"):
            return None
        if self._sender.startswith("busy@"):
            raise TemporaryFailure(Reply(451, "4.3.0", "Busy"))
        sink = self._book.make_sink()
        self._book.sinks.append(sink)
        return sink

    def finished(self, content: Any, answer: Answer) -> None:
        if self._sender.startswith("crash@"):
            raise RuntimeError("secret detail")
        self._book.messages.append(content.octets)
        self._book.envelopes.append((self._sender, self._recipients))
        number = len(self._book.messages)
        self._book.defer(lambda: answer(Reply(250, "2.0.0", f"Ok:  Message {number} accepted")))

    def extension(self, verb: str, argument: str, answer: ExtensionAnswer) -> None:
        word, _, octets = argument.partition(" ")
        if word == "PUT":
            self._book.defer(lambda: answer(Collect(int(octets))))
        elif word == "REFUSED":
            answer(Collect(int(octets), Reply(550, "5.7.1", "Unknown peer")))
        elif word == "RAISE":
            raise RuntimeError("secret detail")
        else:
            answer(Reply(250, "2.0.0", f"{verb} ready"))

    def extension_payload(self, verb: str, payload: bytes, answer: Answer) -> None:
        self._book.payloads.append(payload)
        answer(Reply(250, "2.0.0", f"{len(payload)} octets taken"))

    def login(self, mechanism: str, initial: bytes | None) -> Reply | Later | Challenge:
        self._book.events.append(f"login {mechanism}")
        scram = sasl.Scram(lambda user: VERIFIER, NONCE)
        self._attempt: sasl.Exchange = {"PLAIN": sasl.Plain(), "LOGIN": sasl.Login()}.get(mechanism, scram)
        return self._login_step(lambda: self._attempt.start(initial))

    def login_response(self, response: bytes | None) -> Reply | Later | Challenge:
        if response is None:
            self._book.events.append("login broken off")
            return NOT_LOGGED_IN
        return self._login_step(lambda: self._attempt.respond(response))

    def _login_step(self, act: Callable[[], sasl.Step]) -> Reply | Later | Challenge:
        try:
            step = act()
        except sasl.Malformed:
            return Reply(501, "5.5.2", "Malformed")
        if isinstance(step, sasl.Prompt):
            return Challenge(step.octets)
        if isinstance(step, sasl.Claim):
            later = Later()
            reply = LOGGED_IN if step == ("user", "pencil") else NOT_LOGGED_IN
            self._book.defer(lambda: later.answer(reply))
            return later
        return LOGGED_IN if isinstance(step, sasl.Proof) and step.user == "user" else NOT_LOGGED_IN

    def aborted(self) -> None:
        self._book.events.append("aborted")

    def closed(self, reason: str) -> None:
        self._book.events.append(f"closed: {reason}")
