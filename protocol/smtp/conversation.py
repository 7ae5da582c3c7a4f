"""What a session is to the server machine: the questions it is asked and the values that pass between them.

The machine (`protocol/smtp/server.py`) calls a `Session`; policy code implements one. `core/smtp/session.py` binds
it to the content sink of this suite. Nothing here does anything by itself.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from protocol.address import Path
from protocol.reply import Reply


class Peer(NamedTuple):
    """The two ends of a connection, addresses as text, and what is known of the far one before it speaks."""

    host: str
    port: int
    local_host: str
    local_port: int
    name: str = ""
    """Host name that the address claims, '' if none is known."""
    verified: bool = False
    """Whether that name leads back to the address."""
    helo: str = ""
    """What XCLIENT said that the client's HELO is; it stands in the place of the peer's own."""
    protocol: str = ""
    """`SMTP` or `ESMTP`, as XCLIENT said, else empty."""
    login: str = ""
    """The user that XCLIENT said has logged in, else empty."""


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What the handshake gave: `TLSv1.3`, the cipher's name, the peer's certificate if it sent one."""

    version: str
    cipher: str
    peer_certificate_der: bytes | None = None


class Sink(Protocol):
    """Takes content as it comes. An error may raise out of `write`; the machine then answers and discards."""

    def write(self, chunk: bytes, /) -> None:
        """Take the next octets."""

    def discard(self) -> None:
        """Forget all octets. Harmless when repeated."""


class Later:
    """A reply that is not known yet. A session returns it and calls `answer` once, when it knows."""

    __slots__ = ("_receiver", "_reply")

    def __init__(self) -> None:
        self._reply: Reply | None = None
        self._receiver: Callable[[Reply], None] | None = None

    def answer(self, reply: Reply) -> None:
        """Give the reply; the first one counts."""
        if self._reply is None:
            self._reply = reply
            if self._receiver is not None:
                self._receiver(reply)

    def attach(self, receiver: Callable[[Reply], None]) -> None:
        """Have `receiver` called with the reply, at once if it is there already. For the machine."""
        self._receiver = receiver
        if self._reply is not None:
            receiver(self._reply)


class Challenge(NamedTuple):
    """Answer to a step of a log-in: these octets go out in base64 behind 334, the response is awaited."""

    octets: bytes


class Collect(NamedTuple):
    """Answer to an extension verb: its command is followed, without a go-ahead, by this many octets.

    They are read and given to `extension_payload`. With `refusal` they are read and forgotten, and the refusal is
    answered after them: a refused payload must never be taken for commands. More than the machine's
    `extension_payload_limit` is treated as refused with 552.
    """

    octets: int
    refusal: Reply | None = None


Answer = Callable[[Reply], None]
ExtensionAnswer = Callable[[Reply | Collect], None]
C = TypeVar("C", bound=Sink)


class Session(Protocol[C]):
    """What answers one connection. All methods are called in the loop thread and must not block.

    A method may raise: `MailError` is answered with its reply, anything else with 451 4.3.0 and an incident id.
    A reply of 421 closes the connection after it.
    """

    def connected(self, peer: Peer) -> Reply:
        """Give the greeting; a code of 400 or more closes after it."""

    def greeted(self, name: str, extended: bool) -> Reply | Later | None:
        """Judge EHLO (`extended`) or HELO; None or a positive reply lets it pass with the ordinary answer."""

    def secured(self, tls: TlsInfo) -> Reply | None:
        """Learn of the handshake; a reply of 400 or more is sent and closes."""

    def mail(self, sender: Path, parameters: Mapping[str, str | None]) -> Reply | Later:
        """Judge the sender; parameters are checked, keywords in upper case."""

    def rcpt(self, recipient: Path, parameters: Mapping[str, str | None]) -> Reply | Later:
        """Judge one recipient."""

    def message(self, size_hint: int | None) -> C | None:
        """Give the sink for the content that is about to come; None refuses with 452 4.3.1."""

    def finished(self, content: C, answer: Answer) -> None:
        """Take the complete content, which the session owns from here; `answer` once, now or later."""

    def aborted(self) -> None:
        """Drop the transaction: RSET, EHLO, refused content, disconnect. The machine has discarded the sink."""

    def closed(self, reason: str) -> None:
        """Learn, once, that the connection is gone and why."""


class ExtensionSession(Session[C], Protocol[C]):
    """A session that answers the verbs of an extension (`ServerSettings.extension_verbs`)."""

    def extension(self, verb: str, argument: str, answer: ExtensionAnswer) -> None:
        """Answer a verb of `extension_verbs`, once, now or later."""

    def extension_payload(self, verb: str, payload: bytes, answer: Answer) -> None:
        """Answer the octets that `Collect` asked for, once, now or later."""


class CommandSession(Session[C], Protocol[C]):
    """A session that also wants a say on NOOP, RSET, VRFY, HELP or QUIT (`ServerSettings.consulted_verbs`)."""

    def command(self, verb: str, argument: str) -> Reply | Later | None:
        """Give the reply in place of the ordinary one, or None."""


class LoginSession(Session[C], Protocol[C]):
    """A session that lets peers log in (`ServerSettings.auth_mechanisms`).

    The last reply of an exchange is 235 for success; any other ends it without.
    """

    def login(self, mechanism: str, initial: bytes | None) -> Reply | Later | Challenge:
        """Begin a log-in by an offered mechanism, its name in upper case; `initial` is None when none was sent."""

    def login_response(self, response: bytes | None) -> Reply | Later | Challenge:
        """Take the response to a challenge. None: the exchange was broken off, and the answer does not matter."""


class SelectiveSession(Session[C], Protocol[C]):
    """A session that keeps some extensions from its peer."""

    @property
    def withheld(self) -> frozenset[str]:
        """Give the EHLO keywords that this peer is not offered and whose verbs it is refused; asked at EHLO."""
