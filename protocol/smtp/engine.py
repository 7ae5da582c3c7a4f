"""What is below the commands of an SMTP server: lines in, replies out, limits, and the parser that is swapped.

Rules

- A command line ends in CRLF. One that holds a bare LF, a bare CR or NUL is refused, never executed, and what
  follows a bare LF is skipped up to the next CRLF (RFC 5321 2.3.8).
- A line over the limit is refused once and skipped; memory stays flat (RFC 5321 4.5.3.1.4).
- Replies that nobody takes stop the reading of commands.
- 5yz replies are errors, 4yz and commands without progress are junk; one too many of either is answered 421.
- Before that replies may have to wait (`stalled_s`): nothing is read or sent until the owner has let them go.
- The peer's faults never raise. After the end, input is discarded.
- Output does not depend on how the input was split.

Theory of operation

`receive` appends input and runs the current parser until it wants more, must wait, or output is full. A parser is
an unbound function, so that the machine refers to nothing that refers back to it. Each returns whether it got on.
`ServerMachine` (server.py) derives from this and adds the commands.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from protocol.reply import Reply
from protocol.smtp.command import CommandError
from protocol.smtp.settings import ServerSettings
from protocol.smtp.states import Event, State, after

LINE_TOO_LONG: Final = Reply(500, "5.5.2", "Line too long")
BAD_LINE_END: Final = Reply(500, "5.5.2", "Lines must end in CRLF and hold no other CR, LF or NUL")
UNKNOWN: Final = Reply(500, "5.5.2", "Command not recognized")
TOO_MANY_ERRORS: Final = Reply(421, "4.7.0", "Too many errors, disconnecting")
TOO_MUCH_JUNK: Final = Reply(421, "4.7.0", "Too many commands without a message, disconnecting")
JUNK_PER_ERROR: Final = 5
"""What is junk may be an honest client that keeps its connection alive: it counts a fifth."""


class Engine:
    """Input, output and limits of one conversation."""

    __slots__ = (
        "_at",
        "_busy",
        "_errors",
        "_input",
        "_junk",
        "_line_limits",
        "_out",
        "_parse",
        "_queued",
        "_settings",
        "_verbs",
        "early_talk",
        "fault",
        "longest_line",
        "received",
        "records",
        "stalled_s",
        "state",
    )

    def __init__(self, settings: ServerSettings, line_limits: Mapping[bytes, int], longest_line: int) -> None:
        self._settings = settings
        self._line_limits = line_limits
        self.longest_line = longest_line
        self._verbs: Mapping[bytes, Callable[[Any, bytes], None]] = {}
        self._parse: Callable[[Any], bool] = Engine._read_command
        self._input = b""
        self._at = 0
        self._out: list[bytes] = []
        self._queued = 0
        self._busy = False
        self._errors = 0
        self._junk = 0
        self.state = State.NEW
        self.fault = ""
        """Why the machine closed the conversation, for the log."""
        self.early_talk = False
        """The client sent on before the reply to a command that ends a pipelined group (RFC 2920 3.1)."""
        self.records = 0
        """Commands read so far: a command counts as progress only when it is complete."""
        self.received = 0
        """Octets received so far."""
        self.stalled_s = 0.0
        """How long what was said must wait, from now; who has waited sets it to 0, takes, and runs on."""

    def receive(self, data: bytes) -> None:
        """Take octets from the peer and do what they ask."""
        self.received += len(data)
        if self._at < len(self._input):
            self._input = self._input[self._at :] + data
        else:
            self._input = data
        self._at = 0
        self.run()

    def run(self) -> None:
        """Go on with input that was held back, as far as output and answers allow."""
        if self._busy:
            return
        self._busy = True
        try:
            limit = self._settings.output_limit
            while self._at < len(self._input) and self._queued < limit and not self.stalled_s and self._parse(self):
                pass
        finally:
            self._busy = False

    def take(self) -> bytes:
        """Give the octets to send, once; nothing while they have to wait."""
        out = self._out
        if not out or (self.stalled_s and self.state is not State.CLOSED):
            return b""
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        self._queued = 0
        return data

    @property
    def held(self) -> int:
        """Octets of input that are not read yet."""
        return len(self._input) - self._at

    @property
    def waiting(self) -> bool:
        """Whether an answer is owed, or a handshake, before input is read."""
        return self._parse is Engine._wait or self.stalled_s > 0

    @property
    def closed(self) -> bool:
        """Whether the conversation is over: send what `take` gives, then close."""
        return self.state is State.CLOSED

    def _move(self, event: Event) -> None:
        self.state = after(self.state, event)

    def _say(self, reply: Reply) -> None:
        """Queue a reply; count it; close after 421 (RFC 5321 3.8)."""
        code = reply.code
        if code >= 400 and code != 421:
            reply = self._count(reply)
        self._send(reply)
        if reply.code == 421:
            self._close(str(reply))

    def _send(self, reply: Reply) -> None:
        wire = reply.encode()
        self._out.append(wire)
        self._queued += len(wire)

    def _count(self, reply: Reply) -> Reply:
        """Count a negative reply; give the reply to send, 421 where a limit is passed."""
        settings = self._settings
        if reply.code >= 500:
            self._errors += 1
            if 0 < settings.error_limit < self._errors:
                return TOO_MANY_ERRORS
        else:
            self._junk += 1
            if 0 < settings.junk_limit < self._junk:
                return TOO_MUCH_JUNK
        self._slow_down()
        return reply

    def _slow_down(self) -> None:
        """Have the reply that follows wait, longer from error to error, once there are many."""
        settings = self._settings
        if settings.error_delay_s:
            beyond = self._errors + self._junk // JUNK_PER_ERROR - settings.error_delay_after
            if beyond > 0:
                self.stalled_s = min(settings.error_delay_s * beyond, settings.error_delay_limit_s)

    def _say_junk(self, reply: Reply) -> None:
        """Reply to a command that brings no message nearer."""
        if reply.code < 400:
            self._junk += 1
            if 0 < self._settings.junk_limit < self._junk:
                reply = TOO_MUCH_JUNK
            else:
                self._slow_down()
        self._say(reply)

    def _close(self, reason: str) -> None:
        """End the conversation from this side."""
        if self.state is not State.CLOSED:
            self.fault = reason
            self._move(Event.CLOSE)
        self._parse = Engine._discard

    def _last_in_group(self) -> None:
        """Note input behind a command that has to be the last of its group (RFC 2920 3.1)."""
        if self._at < len(self._input):
            self.early_talk = True

    def _read_command(self) -> bool:
        data = self._input
        at = self._at
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at <= self.longest_line:
                return False
            self._refuse_line(LINE_TOO_LONG, at)
            return True
        if end - at >= self.longest_line:
            self._refuse_line(LINE_TOO_LONG, at)
            return True
        line = data[at : end - 1] if end > at else b""
        if end == at or data[end - 1] != 13:
            self._refuse_line(BAD_LINE_END, end + 1)
            return True
        self._at = end + 1
        self.records += 1
        self._obey(line)
        return True

    def _obey(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        handler = self._verbs.get(verb)
        if handler is None:
            verb = verb.upper()
            handler = self._verbs.get(verb)
        if b"\r" in line or b"\0" in line:
            self._say(BAD_LINE_END)
        elif handler is None:
            self._say(UNKNOWN)
        elif len(line) + 2 > self._line_limits.get(verb, self._settings.command_line_limit):
            self._say(LINE_TOO_LONG)
        else:
            try:
                handler(self, argument.rstrip(b" \t"))
            except CommandError as error:
                self._say(error.reply)

    def _refuse_line(self, reply: Reply, skip_from: int) -> None:
        self._at = skip_from
        self.records += 1
        self._parse = Engine._skip_line
        self._say(reply)

    def _skip_line(self) -> bool:
        """Discard up to the next CRLF."""
        end = self._input.find(b"\r\n", self._at)
        if end >= 0:
            self._at = end + 2
            self._parse = Engine._read_command
            return True
        self._input = b"\r" if self._input.endswith(b"\r") and self._at < len(self._input) else b""
        self._at = 0
        return False

    def _wait(self) -> bool:
        return False

    def _discard(self) -> bool:
        self._input = b""
        self._at = 0
        return False
