"""The telnet protocol for an operator's terminal: bytes in, text and replies out (RFC 854, 857, 858, 1143).

Two modes. As long as the peer echoes nothing, lines are edited here and sent whole, as mail hosts expect; once it
offers to echo (a log-in prompt), each key goes out as it is typed. Every other option is refused, once. What the peer
sends reaches the terminal as text only: its control characters are shown escaped, but for line ends and tabs, and in
the second mode for the backspace. Pure: `ops/cli/commands/network/telnet.py` has the socket and the terminal.
"""

import codecs
from dataclasses import dataclass, field
from enum import Enum, auto

from core.maillog import clean

_SE, _SB, _WILL, _WONT, _DO, _DONT, _IAC = 240, 250, 251, 252, 253, 254, 255
_ECHO, _GO_AHEAD = 1, 3
ESCAPE = 0x1D
"""Ctrl-]: closes the connection."""
_INTERRUPT, _END, _ERASE, _KILL = 0x03, 0x04, {0x08, 0x7F}, 0x15
LINE_LIMIT = 4096
_SUBOPTION_LIMIT = 1024


class _State(Enum):
    DATA = auto()
    COMMAND = auto()
    OPTION = auto()
    SUBOPTION = auto()
    SUBOPTION_COMMAND = auto()


@dataclass(slots=True)
class Telnet:
    """What comes from the peer."""

    echoes: bool = False
    """Whether the peer shows what is typed."""
    _state: _State = _State.DATA
    _verb: int = 0
    _skipped: int = 0
    _told: dict[tuple[int, int], int] = field(default_factory=dict)
    """What was answered last, by (kind of request, option): the same is not answered twice (RFC 1143)."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Take octets of the peer; gives what is to be shown and what is to be answered."""
        shown, answer = bytearray(), bytearray()
        for octet in data:
            if self._state is _State.DATA and octet != _IAC:
                shown.append(octet)
            else:
                self._command(octet, shown, answer)
        return bytes(shown), bytes(answer)

    def _command(self, octet: int, shown: bytearray, answer: bytearray) -> None:
        if self._state is _State.DATA:
            self._state = _State.COMMAND
        elif self._state is _State.COMMAND:
            self._begin(octet, shown)
        elif self._state is _State.OPTION:
            self._state = _State.DATA
            answer += self._negotiate(self._verb, octet)
        else:
            self._skip(octet)

    def _begin(self, octet: int, shown: bytearray) -> None:
        self._state = _State.DATA
        if octet == _IAC:
            shown.append(octet)
        elif octet in (_WILL, _WONT, _DO, _DONT):
            self._verb, self._state = octet, _State.OPTION
        elif octet == _SB:
            self._skipped, self._state = 0, _State.SUBOPTION

    def _skip(self, octet: int) -> None:
        """Read over a suboption; one without end is given up, so that it cannot swallow all that follows."""
        self._skipped += 1
        if self._state is _State.SUBOPTION_COMMAND:
            self._state = _State.DATA if octet == _SE else _State.SUBOPTION
        elif octet == _IAC:
            self._state = _State.SUBOPTION_COMMAND
        elif self._skipped > _SUBOPTION_LIMIT:
            self._state = _State.DATA

    def _negotiate(self, verb: int, option: int) -> bytes:
        if verb in (_WILL, _WONT):
            wanted = _DO if verb == _WILL and option in (_ECHO, _GO_AHEAD) else _DONT
            if option == _ECHO:
                self.echoes = verb == _WILL
            kind = _WILL
        else:
            wanted, kind = _WONT, _DO
        if self._told.get((kind, option), _DONT if verb == _WONT else _WONT if verb == _DONT else -1) == wanted:
            return b""
        self._told[kind, option] = wanted
        return bytes((_IAC, wanted, option))


def sent(text: bytes) -> bytes:
    """Give octets as they go to the peer: the one that begins commands is doubled."""
    return text.replace(b"\xff", b"\xff\xff")


@dataclass(frozen=True, slots=True)
class Typed:
    """What some keys came to."""

    echo: str = ""
    """Text for the terminal; `\\b` moves back."""
    send: bytes = b""
    leave: bool = False


@dataclass(slots=True)
class Keyboard:
    """What the operator types."""

    _line: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def feed(self, data: bytes, *, remote_echo: bool) -> Typed:
        """Take keys."""
        escape = data.find(ESCAPE)
        if escape >= 0:
            before = self._keys(data[:escape]) if remote_echo else self._edit(data[:escape])
            return Typed(before.echo, before.send, True)
        return self._keys(data) if remote_echo else self._edit(data)

    def _keys(self, data: bytes) -> Typed:
        # RFC 854: a carriage return alone is followed by NUL.
        line, self._line = self._line.encode(), ""
        return Typed("", sent(line + data.replace(b"\r\n", b"\r").replace(b"\r", b"\r\x00")))

    def _edit(self, data: bytes) -> Typed:
        echo: list[str] = []
        out = bytearray()
        for char in self._decoder.decode(data.replace(b"\r\n", b"\r")):
            code = ord(char)
            if code == _INTERRUPT or (code == _END and not self._line):
                return Typed("".join(echo), bytes(out), True)
            if char in "\r\n":
                out += sent(self._line.encode()) + b"\r\n"
                echo.append("\n")
                self._line = ""
            elif code in _ERASE or code == _KILL:
                echo.append(self._erase(len(self._line) if code == _KILL else 1))
            elif char.isprintable() and len(self._line) < LINE_LIMIT:
                self._line += char
                echo.append(char)
        return Typed("".join(echo), bytes(out))

    def _erase(self, count: int) -> str:
        count = min(count, len(self._line))
        self._line = self._line[: len(self._line) - count]
        return "\b \b" * count


@dataclass(slots=True)
class Shown:
    """Makes what the peer sends fit for a terminal."""

    _held: str = ""
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def feed(self, data: bytes, *, remote_echo: bool = False) -> str:
        """Give text with `\\n` as line end; half a line end waits for its other half."""
        text = (self._held + self._decoder.decode(data)).replace("\r\n", "\n").replace("\r\x00", "")
        self._held = "\r" if text.endswith("\r") else ""
        text = text[: len(text) - len(self._held)].replace("\x00", "").replace("\x07", "")
        parts = text.split("\b") if remote_echo else [text]
        return "\b".join(clean(part, None, lines=True) for part in parts)
