"""Content made fit for a peer that takes less than it holds: 8-bit and binary parts encoded, all else left alone.

Called by the SMTP courier, only for peers that do not offer 8BITMIME (RFC 6152 3) or BINARYMIME (RFC 3030 3). Leaves
of MIME are encoded in place, text as quoted-printable and the rest as base64; every other octet stays as it is, and
so does a part that needs no encoding. What an encoding would break is refused with `Unconvertible`: signed and
encrypted multiparts, embedded messages, MIME that cannot be followed. Raw octets in header fields stay: there is no
encoding for them here, and RFC 6152 is about bodies.
Works on the whole message in memory, so that a large one is worked on in a thread. Logs nothing.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mail.mime import MAX_DEPTH, MAX_PARTS, Headers, cut_fields
from protocol.errors import PermanentFailure
from protocol.reply import Reply

_BOUNDARY = re.compile(rb";[ \t]*boundary[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]+))", re.IGNORECASE)
_ESCAPE = re.compile(rb"\\(.)")
_LONG_LINE = re.compile(rb"[^\n]{999}")
_ENCODING = frozenset({b"content-transfer-encoding"})
_ENCODED = frozenset({b"quoted-printable", b"base64"})
_WHOLE = frozenset({b"multipart/signed", b"multipart/encrypted"})
_ASCII = bytes(range(128))


class Unconvertible(PermanentFailure):
    """This content cannot be made fit for the peer: 5.6.3 for 8-bit text, 5.6.1 for binary content."""

    def __init__(self, why: str, *, binary: bool) -> None:
        offer, enhanced = ("BINARYMIME", "5.6.1") if binary else ("8BITMIME", "5.6.3")
        text = f"the receiving host does not offer {offer}, and the message cannot be converted: {why}"
        super().__init__(Reply(554, enhanced, text), text)


@dataclass(frozen=True, slots=True)
class _Entity:
    """A message or part, taken apart: header section with its line ends, what ends it, body."""

    head: bytes
    gap: bytes
    body: bytes
    kind: bytes
    encoding: bytes
    boundary: bytes


def downgrade(content: bytes, *, eight_bit: bool, binary: bool) -> bytes:
    """Give the content as lines of ASCII, or with `eight_bit` as lines of any text. Raises `Unconvertible`.

    `binary`: it came as BINARYMIME, so that it may hold what is not lines.
    """
    walk = _Walk(eight_bit, binary)
    entity = _read(content, b"text/plain")
    if not walk.unfit(entity):
        return content
    headers = Headers(entity.head + b"\r\n")
    if not headers.count(b"content-type"):
        entity = replace(
            entity, head=entity.head + b"Content-Type: text/plain; charset=" + _charset(entity.body) + b"\r\n"
        )
    if not headers.count(b"mime-version"):
        entity = replace(entity, head=entity.head + b"MIME-Version: 1.0\r\n")
    return walk.converted(entity, 0)


def needs_smtputf8(content: bytes) -> bool:
    """Tell whether header fields hold more than ASCII, so that only a peer with SMTPUTF8 may get it (RFC 6531 3.4)."""
    return not content.isascii() and any(
        not entity.head.isascii() or entity.kind.startswith(b"message/global") for entity in _entities(content)
    )


def _entities(content: bytes) -> Iterator[_Entity]:
    """Give the entities of a message, as far as they can be read; what cannot be read is a leaf."""
    waiting = [(content, b"text/plain", 0)]
    count = 0
    while waiting and count < MAX_PARTS:
        data, default, depth = waiting.pop()
        count += 1
        entity = _read(data, default)
        yield entity
        if entity.boundary and depth < MAX_DEPTH:
            waiting += [(piece, _default(entity), depth + 1) for piece in _pieces(entity)[2::2]]


def _charset(body: bytes) -> bytes:
    """Name the character set of text that names none (RFC 1428 3)."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"
    return b"utf-8"


def _default(entity: _Entity) -> bytes:
    return b"message/rfc822" if entity.kind == b"multipart/digest" else b"text/plain"


def _read(data: bytes, default: bytes) -> _Entity:
    """Take an entity apart; `default` is its content type where it names none (RFC 2046 5.1.5)."""
    if data.startswith(b"\r\n"):
        head, gap, body = b"", data[:2], data[2:]
    else:
        at = data.find(b"\r\n\r\n")
        head, gap, body = (data[: at + 2], data[at + 2 : at + 4], data[at + 4 :]) if at >= 0 else (data, b"", b"")
    headers = Headers(head + b"\r\n")
    value = headers.first(b"content-type")
    kind = value.partition(b";")[0].strip().lower() or default
    found = _BOUNDARY.search(value) if kind.startswith(b"multipart/") else None
    boundary = b""
    if found is not None:
        boundary = _ESCAPE.sub(rb"\1", found[1]) if found[1] is not None else found[2]
    encoding = headers.first(b"content-transfer-encoding").partition(b";")[0].strip().lower()
    return _Entity(head, gap, body, kind, encoding, boundary)


def _pieces(entity: _Entity) -> list[bytes]:
    """Give preamble, delimiter, part, delimiter, part … epilogue: every second one is a delimiter line."""
    delimiter = re.compile(rb"((?:^|(?<=\r\n)|\r\n)--" + re.escape(entity.boundary) + rb"(?:--)?[ \t]*(?:\r\n|$))")
    return delimiter.split(entity.body)


def _binary(data: bytes) -> bool:
    """Tell whether octets are not lines of text (RFC 2045 2.8)."""
    rest = data.replace(b"\r\n", b"")
    return b"\0" in data or b"\n" in rest or b"\r" in rest or _LONG_LINE.search(data) is not None


def _dense(data: bytes) -> bool:
    """Tell whether base64 is shorter than quoted-printable."""
    return 6 * len(data.translate(None, _ASCII)) > len(data)


def _labelled(head: bytes, encoding: bytes) -> bytes:
    return cut_fields(head, _ENCODING) + b"Content-Transfer-Encoding: %b\r\n" % encoding


class _Walk:
    """One conversion: what the peer takes, and how many parts were seen."""

    def __init__(self, eight_bit: bool, binary: bool) -> None:
        self._eight_bit = eight_bit
        self._binary = binary
        self._parts = 0

    def unfit(self, entity: _Entity) -> bool:
        """Tell whether an entity needs work, or may have parts that do."""
        return self._foreign(entity.body) or (self._binary and (bool(entity.boundary) or entity.encoding == b"binary"))

    def _foreign(self, body: bytes) -> bool:
        return not (self._eight_bit or body.isascii()) or (self._binary and _binary(body))

    def converted(self, entity: _Entity, depth: int) -> bytes:
        """Give an entity in a form that fits."""
        self._parts += 1
        if not self.unfit(entity):
            return entity.head + entity.gap + entity.body
        if self._parts > MAX_PARTS or depth > MAX_DEPTH:
            raise Unconvertible("it has too many parts", binary=self._binary)
        if entity.kind in _WHOLE or entity.kind.startswith(b"message/"):
            return self._untouched(entity)
        return self._multipart(entity, depth) if entity.kind.startswith(b"multipart/") else self._leaf(entity)

    def _untouched(self, entity: _Entity) -> bytes:
        """Let pass what must not be changed, if only its label is more than the peer takes."""
        if self._foreign(entity.body):
            kind = entity.kind.decode("ascii", "replace")
            raise Unconvertible(f"a part of type {kind} must stay as it is", binary=self._binary)
        return self._relabelled(entity.head, entity.encoding) + entity.gap + entity.body

    def _multipart(self, entity: _Entity, depth: int) -> bytes:
        pieces = _pieces(entity) if entity.boundary else []
        if len(pieces) < 3:
            raise Unconvertible("its parts cannot be told apart", binary=self._binary)
        default = _default(entity)
        out = [self._plain(pieces[0])]
        closed = False
        for delimiter, piece in zip(pieces[1::2], pieces[2::2], strict=True):
            closed = closed or delimiter.strip() == b"--" + entity.boundary + b"--"
            out += [delimiter, self._plain(piece) if closed else self.converted(_read(piece, default), depth + 1)]
        return self._relabelled(entity.head, entity.encoding) + entity.gap + b"".join(out)

    def _relabelled(self, head: bytes, encoding: bytes) -> bytes:
        if encoding not in (b"8bit", b"binary"):
            return head
        return _labelled(head, b"8bit" if self._eight_bit else b"7bit")

    def _plain(self, text: bytes) -> bytes:
        """Give a preamble or epilogue, which nobody is shown, in lines that the peer takes."""
        return b"" if self._foreign(text) else text

    def _leaf(self, entity: _Entity) -> bytes:
        body = entity.body
        if entity.encoding in _ENCODED:
            name = entity.encoding.decode()
            raise Unconvertible(f"a part that is said to be {name} is not", binary=self._binary)
        lines = not _binary(body)
        if lines and (self._eight_bit or body.isascii()):
            return self._relabelled(entity.head, entity.encoding) + entity.gap + body
        if lines and entity.kind.startswith(b"text/") and not _dense(body):
            label, encoded = b"quoted-printable", binascii.b2a_qp(body, istext=True)
        else:
            label, encoded = b"base64", base64.encodebytes(body).replace(b"\n", b"\r\n")
            encoded = encoded if body.endswith(b"\r\n") else encoded.removesuffix(b"\r\n")
        return _labelled(entity.head, label) + (entity.gap or b"\r\n") + encoded
