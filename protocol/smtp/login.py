"""The conversation of a log-in: AUTH, challenges and responses in base64, breaking off (RFC 4954 4).

Rules

- Never in the clear, never within a transaction, never twice.
- A response is one line of base64 and nothing else; `*` breaks the exchange off; a line may have 12,288 octets.
- What the mechanism makes of it is the session's (`LoginSession`); this part sees no name and keeps no octet.

`ServerMachine` (server.py) derives from this.
"""

import binascii
from collections.abc import Callable
from typing import Any, Final, cast

from protocol.reply import Reply
from protocol.smtp.command import CommandError
from protocol.smtp.conversation import Challenge, Later, LoginSession
from protocol.smtp.engine import BAD_LINE_END, Engine
from protocol.smtp.exchange import Exchange
from protocol.smtp.extension import AUTH_LINE_LIMIT
from protocol.smtp.states import TRANSITIONS, Event, State

NOTHING: Final[frozenset[str]] = frozenset()
NOT_OFFERED: Final = Reply(502, "5.5.1", "Command not implemented")
ONCE: Final = Reply(503, "5.5.1", "You have logged in already")
NEED_EHLO: Final = Reply(503, "5.5.1", "Send EHLO first")
NOT_NOW: Final = Reply(503, "5.5.1", "No log-in within a transaction")
NEEDS_TLS: Final = Reply(538, "5.7.11", "Encryption required: send STARTTLS first")
SYNTAX: Final = Reply(501, "5.5.4", "Syntax: AUTH mechanism [initial response]")
UNKNOWN: Final = Reply(504, "5.5.4", "Mechanism not offered")
NOT_BASE64: Final = Reply(501, "5.5.2", "The response is not base64")
BROKEN_OFF: Final = Reply(501, "5.7.0", "Log-in cancelled")
RESPONSE_TOO_LONG: Final = Reply(500, "5.5.6", "Response too long")
SUCCESS: Final = 235


class LoginExchange(Exchange):
    """Exchange with a peer that may log in."""

    __slots__ = ("_withheld", "authenticated")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.authenticated = False
        """Whether a log-in has succeeded since the handshake."""
        self._withheld = NOTHING
        """EHLO keywords that the session keeps from this peer (`SelectiveSession`)."""

    def _go_secure(self) -> None:
        super()._go_secure()
        self.authenticated = False

    def _auth(self, argument: bytes) -> None:
        """RFC 4954 4; what follows in the same group would be read as responses."""
        self._last_in_group()
        refusal = self._refuse_login()
        if refusal is not None:
            self._say(refusal)
            return
        name, _, response = argument.partition(b" ")
        mechanism = name.decode("ascii", "replace").upper()
        if not mechanism or b" " in response:
            self._say(SYNTAX)
        elif mechanism not in self._settings.auth_mechanisms:
            self._say(UNKNOWN)
        else:
            initial = None if not response else b"" if response == b"=" else _decode(response)
            self._move(Event.ASK)
            self._step(self._login.login, mechanism, initial)

    def _refuse_login(self) -> Reply | None:
        if not self._settings.auth_mechanisms or "AUTH" in self._withheld:
            return NOT_OFFERED
        if not self.secure:
            return NEEDS_TLS
        if self.authenticated:
            return ONCE
        if Event.ASK not in TRANSITIONS[self.state]:
            return NEED_EHLO if self.state is State.CONNECTED else NOT_NOW
        return None

    @property
    def _login(self) -> LoginSession[Any]:
        return cast(LoginSession[Any], self._session)

    def _step(self, question: Callable[..., Any], *arguments: object) -> None:
        answer: Reply | Later | Challenge = self._ask(question, *arguments)
        if isinstance(answer, Challenge):
            self._challenge(answer.octets)
            self._parse = LoginExchange._read_response
        else:
            self._parse = Engine._read_command
            self._conclude(answer, LoginExchange._after_login)

    def _challenge(self, octets: bytes) -> None:
        """Send a challenge whole: it may be longer than the line of a reply (RFC 4954 4)."""
        wire = b"334 %b\r\n" % binascii.b2a_base64(octets, newline=False)
        self._out.append(wire)
        self._queued += len(wire)

    def _after_login(self, reply: Reply) -> None:
        self._move(Event.ANSWERED)
        self.authenticated = reply.code == SUCCESS
        self._say(reply)

    def _break_off(self, reply: Reply) -> None:
        self._ask(self._login.login_response, None)
        self._parse = Engine._read_command
        self._after_login(reply)

    def _read_response(self) -> bool:
        """Read one line, which is never looked up as a command and never logged."""
        data, at = self._input, self._at
        end = data.find(b"\n", at)
        size = (len(data) if end < 0 else end + 1) - at
        if size > AUTH_LINE_LIMIT:
            self._break_off_line(RESPONSE_TOO_LONG, at)
            return True
        if end < 0:
            return False
        if data[end - 1 : end] != b"\r" or end == at:
            self._break_off_line(BAD_LINE_END, end + 1)
            return True
        self._at = end + 1
        self.records += 1
        line = data[at : end - 1]
        if line == b"*":
            self._break_off(BROKEN_OFF)
            return True
        try:
            response = _decode(line)
        except CommandError as error:
            self._break_off(error.reply)
            return True
        self._step(self._login.login_response, response)
        return True

    def _break_off_line(self, reply: Reply, skip_from: int) -> None:
        """Break off at a line that cannot be taken, whose rest is skipped."""
        self._at = skip_from
        self.records += 1
        self._break_off(reply)
        if not self.closed:
            self._parse = Engine._skip_line


def _decode(text: bytes) -> bytes:
    """Undo base64. Raises `CommandError` for anything else (RFC 4954 4)."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise CommandError(NOT_BASE64) from None
