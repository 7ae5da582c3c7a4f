"""SMTP replies: the value both machines share, its encoding, and a bounded parser for the client side.

The server machine and the sessions make replies, the client machine reads them. Nothing here knows a transport.
`Reply` raises `ValueError` for a code outside 200 to 599; `ReplyParser.feed` never raises: after a fault it discards.
"""

import re
from functools import lru_cache
from typing import Final

LINE_LIMIT: Final = 512
"""Octets of one reply line with its CRLF (RFC 5321 4.5.3.1.5)."""

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e\t]")
_ENHANCED: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?: +|$)")
_SINGLE: Final = re.compile(rb"([2-5][0-9]{2}) ([^\r\n\0]*)\r\n")
_CACHED_LENGTH: Final = 80
_LINE: Final = re.compile(rb"([2-5][0-9]{2})([ -]|$)", re.DOTALL)


class Reply:
    """One reply: `code`, `enhanced` ('' = none, else x.y.z of RFC 3463) and `text`, a line or a tuple of lines.

    Treat it as immutable. Whatever is not printable ASCII in `text` goes out as `?`, lines are cut at 512 octets.
    """

    __slots__ = ("_wire", "code", "enhanced", "text")

    def __init__(self, code: int, enhanced: str = "", text: str | tuple[str, ...] = "") -> None:
        if not 200 <= code <= 599:
            raise ValueError(f"not an SMTP reply code: {code}")
        self.code = code
        self.enhanced = enhanced
        self.text = text
        self._wire: bytes | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """The text as lines, at least one, without code and enhanced code."""
        text = self.text
        return (text,) if isinstance(text, str) else text or ("",)

    @property
    def positive(self) -> bool:
        """True for 2yz and 3yz."""
        return self.code < 400

    @property
    def temporary(self) -> bool:
        """True for 4yz."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """True for 5yz."""
        return self.code >= 500

    def encode(self) -> bytes:
        """Give the octets to send, with the enhanced code on every line (RFC 2034 4). Cached."""
        wire = self._wire
        if wire is None:
            wire = self._wire = self._encode()
        return wire

    def _encode(self) -> bytes:
        prefix = f"{self.enhanced} " if self.enhanced else ""
        lines = self.lines
        last = len(lines) - 1
        out = []
        for number, line in enumerate(lines):
            mark = " " if number == last else "-"
            text = _UNPRINTABLE.sub("?", f"{self.code}{mark}{prefix}{line}")
            out.append(text[: LINE_LIMIT - 2].encode("ascii") + b"\r\n")
        return b"".join(out)

    def __str__(self) -> str:
        parts = [str(self.code), self.enhanced, " ".join(self.lines)]
        return " ".join(part for part in parts if part)

    def __repr__(self) -> str:
        return f"Reply({self.code}, {self.enhanced!r}, {self.text!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reply):
            return NotImplemented
        return (self.code, self.enhanced, self.lines) == (other.code, other.enhanced, other.lines)

    def __hash__(self) -> int:
        return hash((self.code, self.enhanced, self.lines))


def parse_reply(text: str) -> Reply:
    """Read a reply that a person or a plug-in wrote, such as `250 2.1.0 Ok`; several lines may use LF or CRLF.

    Raises `ValueError` when it does not start with a code from 200 to 599.
    """
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    code = lines[0][:3]
    if not (code.isascii() and code.isdigit()):
        raise ValueError(f"not an SMTP reply: {text!r}")
    return _assemble(int(code), [line[4:] if line[:3] == code else line for line in lines])


def _assemble(code: int, lines: list[str]) -> Reply:
    """Make a reply of text lines, taking an enhanced code of the same class off each line (RFC 2034 4)."""
    found = _ENHANCED.match(lines[0])
    enhanced = found[1] if found and found[1][0] == str(code)[0] else ""
    if enhanced:
        lines = [line[len(enhanced) :].lstrip(" ") if line.startswith(enhanced) else line for line in lines]
    return Reply(code, enhanced, lines[0] if len(lines) == 1 else tuple(lines))


@lru_cache(maxsize=512)
def _single(line: bytes) -> Reply | None:
    """Read a reply of one line; None for anything else. A busy peer says the same few lines all the time."""
    found = _SINGLE.fullmatch(line)
    return _assemble(int(found[1]), [found[2].decode("utf-8", "replace")]) if found else None


class ReplyParser:
    """Read replies out of a byte stream, bounded in line length, number of lines and octets of one reply.

    Rules: a line ends in CRLF and in nothing else; all lines of a reply carry one code (RFC 5321 4.2.1). A peer
    that breaks them sets `fault` (a reason for the log), and from then on everything is discarded: what comes
    after a fault cannot be matched to a command any more.
    """

    __slots__ = ("_buffer", "_code", "_line_limit", "_lines", "_lines_limit", "fault")

    def __init__(self, *, line_limit: int = 2048, lines_limit: int = 128) -> None:
        self.fault: str | None = None
        self._buffer = b""
        self._code = b""
        self._lines: list[str] = []
        self._line_limit = line_limit
        self._lines_limit = lines_limit

    @property
    def idle(self) -> bool:
        """True when no part of a reply is held: nothing may be held when TLS starts (RFC 3207 5)."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """Take octets and give the replies that are complete, in order."""
        replies: list[Reply] = []
        if self.fault is not None:
            return replies
        buffer = self._buffer + data if self._buffer else data
        start = 0
        while self.fault is None and (end := buffer.find(b"\n", start)) >= 0:
            self._take_line(buffer[start : end + 1], replies)
            start = end + 1
        if self.fault is None and len(buffer) - start > self._line_limit:
            self.fault = "reply line too long"
        self._buffer = b"" if self.fault is not None else buffer[start:]
        return replies

    def _take_line(self, line: bytes, replies: list[Reply]) -> None:
        if not self._lines and len(line) <= _CACHED_LENGTH and (reply := _single(line)) is not None:
            replies.append(reply)
        else:
            self._read_line(line, replies)

    def _read_line(self, line: bytes, replies: list[Reply]) -> None:
        if not line.endswith(b"\r\n"):
            self.fault = "reply line ends in a bare LF"
            return
        if b"\r" in line[:-2] or b"\0" in line:
            self.fault = "reply line with a bare CR or NUL"
            return
        found = _LINE.match(line[:-2])
        if found is None:
            self.fault = "reply line without a code"
        elif len(line) > self._line_limit:
            self.fault = "reply line too long"
        elif self._lines and found[1] != self._code:
            self.fault = "reply lines with different codes"
        elif len(self._lines) >= self._lines_limit:
            self.fault = "reply with too many lines"
        else:
            self._code = found[1]
            self._lines.append(line[4:-2].decode("utf-8", "replace"))
            if found[2] != b"-":
                replies.append(_assemble(int(self._code), self._lines))
                self._lines = []
