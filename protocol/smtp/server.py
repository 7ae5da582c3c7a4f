"""The SMTP server machine: bytes in, replies out, questions to a session in between (RFC 5321).

A connection (`core/smtp/connection.py`) or a test feeds it: `connect`, `receive` and `take`, `disconnect`. It never
sees a socket, a clock or a log. Here are the verbs; states.py has the moves, engine.py the lines and limits,
exchange.py the talk with the session, login.py AUTH, data.py the content, extension.py what EHLO announces.
Nothing that a peer sends raises out of `receive`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from protocol.reply import Reply
from protocol.smtp.command import CommandError, parse_chunk, parse_name, parse_search, parse_text
from protocol.smtp.conversation import CommandSession, Later, Session
from protocol.smtp.data import CountedContent, DottedContent, Intake
from protocol.smtp.dialect import Dialect, Handler
from protocol.smtp.exchange import Exchange, Incident
from protocol.smtp.login import NOTHING, LoginExchange
from protocol.smtp.parameter import TOO_LARGE
from protocol.smtp.settings import ServerSettings
from protocol.smtp.states import TRANSACTION, TRANSITIONS, Event, State
from protocol.smtp.xclient import NOT_LISTED, Introduction, parse_xclient

GO_AHEAD: Final = Reply(354, "", "Send the message, end with a line that holds a dot only")
NO_ROOM: Final = Reply(452, "4.3.1", "Insufficient system storage")
TOO_MANY_RECIPIENTS: Final = Reply(452, "4.5.3", "Too many recipients")
NO_RECIPIENTS: Final = Reply(554, "5.5.1", "No valid recipients")
NEED_EHLO: Final = Reply(503, "5.5.1", "Send EHLO first")
NEED_MAIL: Final = Reply(503, "5.5.1", "Send MAIL first")
NEED_RCPT: Final = Reply(503, "5.5.1", "Send RCPT first")
NESTED: Final = Reply(503, "5.5.1", "A transaction is open: send RSET first")
MIXED: Final = Reply(503, "5.5.1", "DATA and BDAT do not mix")
BINARY: Final = Reply(503, "5.5.1", "BODY=BINARYMIME comes by BDAT only")
OUT_OF_PLACE: Final = Reply(421, "4.5.0", "Not now, closing: a payload may follow")
NO_ARGUMENT: Final = Reply(501, "5.5.4", "No argument allowed")
NEED_ARGUMENT: Final = Reply(501, "5.5.4", "Argument missing")
NO_SENDER_DOMAIN: Final = Reply(553, "5.5.4", "#5.5.4 Domain required for sender address")
BAD_NAME: Final = Reply(501, "5.5.4", "Syntax: EHLO domain, or HELO domain")
OK: Final = Reply(250, "2.0.0", "Ok")
HELP: Final = Reply(214, "2.0.0", "RFC 5321; see the documentation of this service")
VRFY: Final = Reply(252, "2.5.0", "Cannot verify; send the message and it will be tried")
BYE: Final = Reply(221, "2.0.0", "Closing connection")
NOT_IMPLEMENTED: Final = Reply(502, "5.5.1", "Command not implemented")
GO_TLS: Final = Reply(220, "2.0.0", "Ready to start TLS")
TLS_ON: Final = Reply(503, "5.5.1", "TLS is on already")
TLS_FIRST: Final = Reply(530, "5.7.0", "#5.7.0 Must issue a STARTTLS command first")
CUT: Final = "octet count not understood: what follows cannot be told from commands"


class ServerMachine(LoginExchange):
    """One conversation. Make it with the listener's dialect, a session, `incident` and `wake` (exchange.py)."""

    __slots__ = ("_attempted", "_binary", "_body_size", "_overshoot", "_recipients", "_utf8", "introduction")

    def __init__(self, dialect: Dialect, session: Session[Any], incident: Incident, wake: Callable[[], None]) -> None:
        super().__init__(dialect, session, incident, wake)
        self._recipients = 0
        self._attempted = False
        self._overshoot = 0
        self._body_size: int | None = None
        self._binary = self._utf8 = False
        """Whether the transaction has BODY=BINARYMIME, and SMTPUTF8."""
        self.introduction: Introduction | None = None
        """Set when a listed peer has said for whom it speaks: this conversation is over, another begins."""

    def _allowed(self, event: Event) -> bool:
        return event in TRANSITIONS[self.state]

    def _consulted(self, verb: str, argument: bytes, reply: Reply) -> Reply | Later:
        """Ask the session first where the settings say that it has an opinion on such a verb."""
        read = parse_search if verb == "VRFY" else parse_text
        text = read(argument) if argument else ""
        if verb not in self._settings.consulted_verbs:
            return reply
        session = cast(CommandSession[Any], self._session)
        answer: Reply | Later | None = self._ask(session.command, verb, text)
        return answer or reply

    def _drop(self) -> None:
        if self.state in TRANSACTION:
            self._abort()

    # RFC 5321 4.1.1.1, 4.1.4: also resets.

    def _ehlo(self, argument: bytes) -> None:
        self._greet(argument, True)

    def _helo(self, argument: bytes) -> None:
        self._greet(argument, False)

    def _greet(self, argument: bytes, extended: bool) -> None:
        name = parse_name(argument, BAD_NAME)
        self._last_in_group()
        self._drop()
        self._move(Event.RESET)
        reply = self._ask(self._session.greeted, name, extended)
        then = ServerMachine._after_ehlo if extended else ServerMachine._after_helo
        self._conclude(OK if reply is None else reply, then)

    def _after_ehlo(self, reply: Reply) -> None:
        self._withheld = getattr(self._session, "withheld", NOTHING)
        self._welcome(reply, self._dialect.ehlo(self.secure, self._withheld))

    def _after_helo(self, reply: Reply) -> None:
        self._welcome(reply, self._dialect.helo)

    def _welcome(self, judged: Reply, answer: Reply) -> None:
        if judged.code >= 400:
            self._say(judged)
            return
        self._move(Event.GREET)
        self._say_junk(answer)

    def _mail(self, argument: bytes) -> None:
        if not self._allowed(Event.MAIL):
            self._say(NEED_EHLO if self.state is State.CONNECTED else NESTED)
            return
        dialect = self._dialect
        path, parameters = (dialect.mail_secure if self.secure else dialect.mail_clear).parse(argument)
        if path.text and not path.domain and not self._settings.partial_addresses:
            self._say(NO_SENDER_DOMAIN)
            return
        self._note(parameters)
        self._conclude(self._ask(self._session.mail, path, parameters), ServerMachine._after_mail)

    def _note(self, parameters: Mapping[str, str | None]) -> None:
        """Keep what the machine itself needs of MAIL's parameters."""
        if not parameters:
            self._body_size = None
            self._binary = self._utf8 = False
            return
        size = parameters.get("SIZE")
        self._body_size = None if size is None else int(size)
        self._binary = "BODY" in parameters and (parameters["BODY"] or "").upper() == "BINARYMIME"
        self._utf8 = "SMTPUTF8" in parameters

    def _after_mail(self, reply: Reply) -> None:
        if reply.code < 400:
            self._move(Event.MAIL)
            self._recipients = self._overshoot = 0
            self._attempted = False
        self._say(reply)

    def _rcpt(self, argument: bytes) -> None:
        if not self._allowed(Event.RCPT):
            self._say(self._out_of_order())
            return
        self._attempted = True
        path, parameters = self._dialect.rcpt.parse(argument, utf8=self._utf8)
        if not path.text:
            self._say(Reply(501, "5.1.3", "Bad address"))
        elif self._recipients >= self._settings.recipient_limit:
            self._say_overshoot()
        else:
            self._conclude(self._ask(self._session.rcpt, path, parameters), ServerMachine._after_rcpt)

    def _after_rcpt(self, reply: Reply) -> None:
        if reply.code < 400:
            self._move(Event.RCPT)
            self._recipients += 1
        self._say(reply)

    def _say_overshoot(self) -> None:
        """RFC 5321 4.5.3.1.10; patient, because a client may pipeline a long list before it reads a reply."""
        self._overshoot += 1
        if self._overshoot > self._settings.recipient_overshoot:
            self._say(TOO_MANY_RECIPIENTS)
        else:
            self._send(TOO_MANY_RECIPIENTS)

    def _out_of_order(self) -> Reply:
        """Say what has to come before recipients or content."""
        if self.state is State.CONNECTED:
            return NEED_EHLO
        if self.state is State.GREETED:
            return NEED_MAIL
        if self.state is State.CHUNKED:
            return MIXED
        return NO_RECIPIENTS if self._attempted else NEED_RCPT

    def _data(self, argument: bytes) -> None:
        if argument:
            self._say(NO_ARGUMENT)
            return
        self._last_in_group()
        if not self._allowed(Event.DATA):
            self._say(self._out_of_order())
            return
        if self._binary:
            self._say(BINARY)
            return
        intake = self._open()
        if isinstance(intake, Reply):
            self._say(intake)
            return
        self._content = DottedContent(intake)
        self._move(Event.DATA)
        self._say(GO_AHEAD)
        self._parse = Exchange._read_content

    def _open(self) -> Intake | Reply:
        """Get the session's sink, or the reply that refuses."""
        sink = self._ask(self._session.message, self._body_size)
        if sink is None:
            return NO_ROOM
        if isinstance(sink, Reply):
            return sink
        settings = self._settings
        return Intake(sink, settings.size_limit, settings.text_line_limit, self._incident, binary=self._binary)

    def _bdat(self, argument: bytes) -> None:
        """RFC 3030 2: whatever is wrong, the octets of the chunk are read before the reply."""
        try:
            octets, last = parse_chunk(argument)
        except CommandError as error:
            self._say(error.reply)
            self._close(CUT)
            return
        if not self._allowed(Event.BDAT):
            self._skip(octets, self._out_of_order())
            return
        content = self._content
        if not isinstance(content, CountedContent):
            intake = self._open()
            if isinstance(intake, Reply):
                self._skip(octets, intake)
                return
            content = self._content = CountedContent(intake)
        limit = self._settings.size_limit
        if 0 < limit < content.intake.octets + octets:
            self._abort()
            self._move(Event.RESET)
            self._skip(octets, TOO_LARGE)
            return
        self._move(Event.BDAT)
        content.begin(octets, last)
        self._parse = Exchange._read_content
        self._read_content()

    def _rset(self, argument: bytes) -> None:
        if argument:
            self._say(NO_ARGUMENT)
            return
        self._drop()
        self._move(Event.RESET)
        self._conclude(self._consulted("RSET", b"", OK), Exchange._say_junk)

    def _noop(self, argument: bytes) -> None:
        self._conclude(self._consulted("NOOP", argument, OK), Exchange._say_junk)

    def _help(self, argument: bytes) -> None:
        self._conclude(self._consulted("HELP", argument, HELP), Exchange._say_junk)

    def _vrfy(self, argument: bytes) -> None:
        """RFC 5321 3.5.3: neither confirms nor repeats the name."""
        reply = self._consulted("VRFY", argument, VRFY) if argument else NEED_ARGUMENT
        self._conclude(reply, Exchange._say_junk)

    def _quit(self, argument: bytes) -> None:
        if argument:
            self._say(NO_ARGUMENT)
            return
        self._conclude(self._consulted("QUIT", b"", BYE), ServerMachine._after_quit)

    def _after_quit(self, reply: Reply) -> None:
        self._send(reply)
        self._close("QUIT")

    def _unimplemented(self, _: bytes) -> None:
        self._say(NOT_IMPLEMENTED)

    def _starttls(self, argument: bytes) -> None:
        """RFC 3207 4."""
        if argument:
            self._say(NO_ARGUMENT)
        elif self.secure:
            self._say(TLS_ON)
        elif not self._settings.starttls or "STARTTLS" in self._withheld:
            self._say(NOT_IMPLEMENTED)
        elif not self._allowed(Event.STARTTLS):
            self._say(NEED_EHLO if self.state is State.CONNECTED else NESTED)
        else:
            self._move(Event.STARTTLS)
            self._say(GO_TLS)
            self._parse = Exchange._read_in_handshake

    def _xclient(self, argument: bytes) -> None:
        """End here, for the connection to begin again as the client that a listed peer speaks for."""
        if not self._settings.xclient:
            self._say(NOT_LISTED)
        elif self.secure or self.state not in (State.CONNECTED, State.GREETED):
            self._say(TLS_ON if self.secure else NESTED)
        else:
            attributes = parse_xclient(argument)
            self.introduction = Introduction(attributes, self._input[self._at :])
            self._close("XCLIENT")

    def _tls_first(self, _: bytes) -> None:
        self._say(TLS_FIRST)

    def _extension(self, verb: str, argument: bytes) -> None:
        text = parse_text(argument)
        if self._allowed(Event.ASK):
            self._extend(verb, text)
        elif text:
            self._say(OUT_OF_PLACE)
        else:
            self._say(NEED_EHLO if self.state is State.CONNECTED else NESTED)


_VERBS: Final[Mapping[str, Handler]] = {
    "EHLO": ServerMachine._ehlo,
    "HELO": ServerMachine._helo,
    "MAIL": ServerMachine._mail,
    "RCPT": ServerMachine._rcpt,
    "DATA": ServerMachine._data,
    "BDAT": ServerMachine._bdat,
    "RSET": ServerMachine._rset,
    "NOOP": ServerMachine._noop,
    "VRFY": ServerMachine._vrfy,
    "HELP": ServerMachine._help,
    "QUIT": ServerMachine._quit,
    "STARTTLS": ServerMachine._starttls,
    "AUTH": ServerMachine._auth,
    "XCLIENT": ServerMachine._xclient,
    **dict.fromkeys(("EXPN", "SEND", "SOML", "SAML", "TURN", "ETRN"), ServerMachine._unimplemented),
}


def make_dialect(settings: ServerSettings) -> Dialect:
    """Compile a listener's settings; its machines share the result."""

    def extension(verb: str) -> Handler:
        return lambda machine, argument: machine._extension(verb, argument)

    return Dialect(settings, _VERBS, ServerMachine._tls_first, extension)
