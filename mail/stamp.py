"""Headings and footers: texts that this machine puts into messages, where that can be done without rebuilding them.

The pipeline stamps what a listener or a filter asks for. A text goes into a message that is plain text, in its own
encoding, or becomes a part of its own in a `multipart/mixed`; it is inserted at an offset of the content, and every
octet that was sent stays. Anything else (HTML, alternatives, signed or encrypted mail, base64) is left alone, with the
reason. Knows no configuration; raises nothing on what is in a message.
"""

import quopri
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from core.record import Edit
from mail.content import splice
from mail.filter.variable import Template
from mail.filter.view import View
from mail.mime import Headers

Where = Literal["heading", "footer"]
STAMP: Final = "stamp"
MOST_TEXT: Final = 10_000
"""Octets of a text as it is inserted; what an edit can carry (docs/protocol/quarantine.md)."""
_PARAMETER: Final = r"\s*=\s*(?:\"([^\"]*)\"|([^\s;\"]+))"
_CHARSET: Final = re.compile("charset" + _PARAMETER, re.IGNORECASE)
_BOUNDARY: Final = re.compile("boundary" + _PARAMETER, re.IGNORECASE)
_ASCII_WITHIN: Final = re.compile(
    r"us-ascii|ascii|utf-8|iso-8859-\d+|windows-125\d|koi8-[ru]|gbk?|gb2312|gb18030|big5|euc-\w+"
)
_WIDE: Final = {"utf-8": "utf-8", "iso-8859-1": "latin-1", "iso-8859-15": "iso8859-15", "windows-1252": "cp1252"}
_PGP: Final = b"-----BEGIN PGP "


@dataclass(frozen=True, slots=True)
class Disclaimer:
    """A text, its lines with variables."""

    name: str
    lines: tuple[Template, ...]

    def fill(self, view: View) -> str:
        """Give the text for one message, its lines ended by CRLF."""
        return "".join(f"{line.expand(view)}\r\n" for line in self.lines)


@dataclass(frozen=True, slots=True)
class Disclaimers:
    """All texts by lower case name, and which each listener asks for."""

    texts: Mapping[str, Disclaimer] = field(default_factory=dict)
    listeners: Mapping[str, tuple[tuple[Where, str], ...]] = field(default_factory=dict)


NO_DISCLAIMERS: Final = Disclaimers()


class NotStamped(Exception):
    """Why a text cannot go into a message."""


def disclaimer(name: str, text: str, hostname: str) -> Disclaimer:
    """Make a text ready for use."""
    return Disclaimer(name, tuple(Template(line, hostname) for line in text.rstrip("\n").splitlines()))


def stamp(content: bytes, headers: Headers, where: Where, text: str) -> Edit:
    """Give the edit that puts a text into a message. Raises `NotStamped`."""
    kind = headers.first(b"content-type").decode("latin-1") or "text/plain"
    media = kind.partition(";")[0].strip().lower()
    if headers.count(b"content-type") > 1 or headers.count(b"content-transfer-encoding") > 1:
        raise NotStamped("its header is ambiguous")
    start = _body_start(content, headers)
    if media == "text/plain":
        offset, charset, inserted = _plain(content, headers, kind, where=where, text=text, start=start)
    elif media == "multipart/mixed":
        offset, charset, inserted = _part(content, kind, where, text, start=start)
    else:
        raise NotStamped(f"it is {media[:60]}")
    if len(inserted) > MOST_TEXT:
        raise NotStamped(f"the text has more than {MOST_TEXT} characters")
    return splice(where, offset, charset, inserted)


def _body_start(content: bytes, headers: Headers) -> int:
    for empty in (b"\r\n", b"\n"):
        if content.startswith(empty, headers.end):
            return headers.end + len(empty)
    raise NotStamped("it has no body")


def _plain(content: bytes, headers: Headers, kind: str, *, where: Where, text: str, start: int) -> tuple[int, str, str]:
    if _PGP in content:
        raise NotStamped("it is signed or encrypted (PGP)")
    encoding = headers.first(b"content-transfer-encoding").decode("latin-1").strip().lower() or "7bit"
    charset = _charset(kind, text, encoding)
    if encoding == "quoted-printable":
        text, charset = _quoted(text, charset), "ascii"
    elif encoding not in ("7bit", "8bit", "binary"):
        raise NotStamped(f"it is encoded in {encoding[:40]}")
    if where == "heading":
        return start, charset, text
    return len(content), charset, text if content.endswith(b"\n") else "\r\n" + text


def _charset(kind: str, text: str, encoding: str) -> str:
    found = _CHARSET.search(kind)
    named = (found[1] or found[2] or "").lower() if found is not None else "us-ascii"
    if text.isascii():
        if _ASCII_WITHIN.fullmatch(named) is None:
            raise NotStamped(f"it is written in {named[:40]}")
        return "ascii"
    charset = _WIDE.get(named)
    if charset is None or encoding == "7bit":
        raise NotStamped(f"the text cannot be written in {named[:40]} ({encoding[:40]})")
    try:
        text.encode(charset)
    except UnicodeEncodeError:
        raise NotStamped(f"the text cannot be written in {named[:40]}") from None
    return charset


def _quoted(text: str, charset: str) -> str:
    octets = quopri.encodestring(text.replace("\r\n", "\n").encode(charset))
    return octets.decode("ascii").replace("\n", "\r\n")


def _part(content: bytes, kind: str, where: Where, text: str, *, start: int) -> tuple[int, str, str]:
    found = _BOUNDARY.search(kind)
    boundary = (found[1] or found[2] or "") if found is not None else ""
    if not boundary or not boundary.isascii():
        raise NotStamped("its parts have no boundary")
    offset = _delimiter(content, boundary.encode(), where, start)
    part = (
        f"--{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n"
        f"Content-Disposition: inline\r\n\r\n{_quoted(text, 'utf-8')}"
    )
    return offset, "ascii", part if part.endswith("\r\n") else part + "\r\n"


def _delimiter(content: bytes, boundary: bytes, where: Where, start: int) -> int:
    """Give the offset of the first delimiter, or of the closing one."""
    line = re.compile(
        rb"^--" + re.escape(boundary) + (rb"--" if where == "footer" else rb"") + rb"[ \t]*\r?$", re.MULTILINE
    )
    places = [found.start() for found in line.finditer(content, start)]
    if not places:
        raise NotStamped("its parts are not closed")
    return places[-1] if where == "footer" else places[0]


def requests(table: Disclaimers, listener: str, asked: Sequence[tuple[Where, str]]) -> list[tuple[Where, Disclaimer]]:
    """Give what is to be stamped: the listener's texts, then those that filters asked for, each once."""
    wanted = dict.fromkeys((*table.listeners.get(listener, ()), *asked))
    return [(where, table.texts[name]) for where, name in wanted if name in table.texts]
