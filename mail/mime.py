"""What can be read out of a message: its header fields and its MIME parts, within firm bounds.

The receiving session indexes the headers of every message (`Headers`, a few microseconds); the filters decode a
subject or look into parts only when a rule asks. The one module that touches fast-mail-parser. Nothing here
changes a message, and nothing raises on what a stranger wrote: faults come back as text. Reading parts of a large
message takes milliseconds, so `read_parts` is called from a thread for those.
"""

import binascii
import email
import email.policy
import quopri
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass

import fast_mail_parser

MAX_BLOCK = 128 * 1024
MAX_FIELDS = 1000
MAX_PARTS = 2000
MAX_DEPTH = 50
MAX_EMBEDDED = 100
_FALLBACK_SIZE = 1 << 20
_FALLBACK_PARTS = 100
_MAX_DECODED = 64 * 1024

_FIELD = re.compile(rb"^([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)\n?", re.MULTILINE)
_BARE_END = re.compile(rb"(?:^|\n)\r?\n")
_FOLD = re.compile(rb"\r?\n")
_WORD = re.compile(rb"=\?([A-Za-z0-9_.:+-]{1,40})(?:\*[A-Za-z0-9-]{0,40})?\?([qQbB])\?([^?\s]*)\?=")
_EMBEDDED = re.compile(rb"message/rfc822", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:+-]{1,40})", re.IGNORECASE)
_NO_TEXT_CODECS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "utf7"})


class Headers:
    """The header section of a message, indexed once."""

    __slots__ = ("end", "fault", "fields")

    def __init__(self, data: bytes) -> None:
        """Index the header section of `data`, which may be the beginning of a longer message."""
        self.end, self.fault = _section_end(data)
        self.fields: list[tuple[bytes, bytes]] = []
        """Lower case name and value with its folds, in order."""
        if self.fault:
            return
        found = _FIELD.findall(data, 0, self.end)
        if len(found) > MAX_FIELDS:
            self.fault = f"more than {MAX_FIELDS} header fields"
            del found[MAX_FIELDS:]
        self.fields = [(name.lower(), raw) for name, raw in found]

    def values(self, name: bytes) -> list[bytes]:
        """Give the unfolded values of all fields of a lower case name, in order."""
        return [unfold(raw) for key, raw in self.fields if key == name]

    def first(self, name: bytes) -> bytes:
        """Give the unfolded value of the first field of a lower case name, b'' if there is none."""
        for key, raw in self.fields:
            if key == name:
                return unfold(raw)
        return b""

    def count(self, name: bytes) -> int:
        """Count the fields of a lower case name."""
        return sum(key == name for key, _ in self.fields)


def cut_fields(block: bytes, names: Container[bytes]) -> bytes:
    """Give a header section without the fields of some lower case names; all other octets stay as they are."""
    kept: list[bytes] = []
    at = 0
    for match in _FIELD.finditer(block):
        if match[1].lower() in names:
            kept.append(block[at : match.start()])
            at = match.end()
    kept.append(block[at:])
    return b"".join(kept)


def change_fields(block: bytes, changes: Mapping[bytes, Callable[[bytes], bytes]]) -> bytes:
    """Give a header section in which the values of some lower case names are changed; all other octets stay."""
    kept: list[bytes] = []
    at = 0
    for match in _FIELD.finditer(block):
        change = changes.get(match[1].lower())
        if change is not None:
            kept += [block[at : match.start(2)], change(match[2])]
            at = match.end(2)
    kept.append(block[at:])
    return b"".join(kept)


def _section_end(data: bytes) -> tuple[int, str]:
    """Give the offset behind the last header line, and a fault when the section is too large to be read."""
    if data.startswith((b"\r\n", b"\n")):
        return 0, ""
    at = data.find(b"\r\n\r\n", 0, MAX_BLOCK + 4)
    bare = data.find(b"\n\n", 0, at if at >= 0 else MAX_BLOCK + 2)
    if bare >= 0:
        return bare + 1, ""
    if at >= 0:
        return at + 2, ""
    if len(data) > MAX_BLOCK:
        return 0, f"header section above {MAX_BLOCK // 1024} KiB"
    return len(data), ""


def unfold(raw: bytes) -> bytes:
    """Undo folding (RFC 5322 2.2.3) and trim the blanks around a value."""
    if b"\n" in raw:
        raw = _FOLD.sub(b"", raw)
    return raw.strip(b" \t\r\n")


def decode_words(value: bytes) -> str:
    """Give a value as text: encoded words (RFC 2047) decoded, other octets as UTF-8 or else Latin-1."""
    if b"=?" not in value:
        return _text(value)
    value = value[:_MAX_DECODED]
    out: list[str] = []
    charset, pending, at = "", b"", 0
    for match in _WORD.finditer(value):
        between = value[at : match.start()]
        word_charset = match[1].decode("ascii").lower()
        if pending and (between.strip(b" \t") or word_charset != charset):
            out.append(to_text(pending, charset))
            pending = b""
        if between.strip(b" \t") or not at:
            out.append(_text(between))
        charset = word_charset
        pending += _transfer_decoded(match[2], match[3])
        at = match.end()
    if pending:
        out.append(to_text(pending, charset))
    out.append(_text(value[at:]))
    return "".join(out)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _transfer_decoded(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"qQ":
        return quopri.decodestring(text, header=True)
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        return text


def to_text(data: bytes, charset: str) -> str:
    """Decode octets of a named character set; an unknown one is read as UTF-8 or Latin-1."""
    if charset.replace("-", "_") in _NO_TEXT_CODECS or charset in _NO_TEXT_CODECS:
        return _text(data)
    try:
        return data.decode(charset, "replace")
    except (LookupError, ValueError):
        return _text(data)


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of a message, its transfer encoding undone."""

    content_type: str
    filename: str
    data: bytes
    """Text is UTF-8 whatever its character set was."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The leaves of a message, or why they could not be read (`fault`, the verdict 'unscannable')."""

    leaves: tuple[Part, ...]
    fault: str = ""


class _TooDeep(Exception):
    pass


class _HollowPart(Exception):
    """A multipart in which no part was found, say because its boundary is never closed."""


def read_parts(data: bytes) -> Parts:
    """Take a message apart. Work is bounded by size, number and depth of parts before and during the parse."""
    boundaries = data.count(b"\n--") + data.startswith(b"--")
    if boundaries > MAX_PARTS:
        return Parts((), f"more than {MAX_PARTS} part boundaries")
    if len(_EMBEDDED.findall(data)) > MAX_EMBEDDED:
        return Parts((), f"more than {MAX_EMBEDDED} embedded messages")
    try:
        root = fast_mail_parser.parse_email_tree(data, mode="lazy")
        return Parts(tuple(_leaves(root, 0)))
    except (fast_mail_parser.ParseError, _HollowPart) as error:
        if len(data) <= _FALLBACK_SIZE and boundaries <= _FALLBACK_PARTS:
            return _second_reading(data)
        return Parts((), f"cannot be parsed: {type(error).__name__.strip('_')}")
    except _TooDeep:
        return Parts((), f"more than {MAX_DEPTH} levels of parts")


def _leaves(part: "fast_mail_parser.PyLazyMimePart", depth: int) -> Iterator[Part]:
    if depth > MAX_DEPTH:
        raise _TooDeep
    children = part.children
    for child in children:
        yield from _leaves(child, depth + 1)
    if not children:
        content = part.content
        if content is None:
            raise _HollowPart
        types = part.headers.get("Content-Type") or [part.content_type]
        yield Part(part.content_type.lower(), part.filename, _as_utf8(content, part.content_type, types[0]))


def _as_utf8(content: bytes, content_type: str, declared: str) -> bytes:
    if not content_type.lower().startswith("text/"):
        return content
    match = _CHARSET.search(declared[:2000])
    charset = match[1].lower() if match else "utf-8"
    if charset in ("utf-8", "us-ascii", "ascii"):
        return content
    return to_text(content, charset).encode("utf-8", "replace")


def _second_reading(data: bytes) -> Parts:
    """Read what the fast parser refused with the forgiving one of the standard library; small messages only."""
    try:
        message = email.message_from_bytes(data, policy=email.policy.compat32)
        leaves = []
        for part in message.walk():
            if part.is_multipart():
                continue
            content = part.get_payload(decode=True)
            content = content if isinstance(content, bytes) else b""
            kind = part.get_content_type()
            declared = str(part.get("Content-Type", kind))
            leaves.append(Part(kind, part.get_filename() or "", _as_utf8(content, kind, declared)))
        return Parts(tuple(leaves))
    except (ValueError, LookupError, RecursionError, AttributeError, TypeError) as error:
        return Parts((), f"cannot be parsed: {type(error).__name__}")
