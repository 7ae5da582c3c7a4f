"""Addresses inside a raw header value (From, To …): found where they stand, and exchanged without touching the rest.

Display names, comments, folds and the octets between stay as they came (RFC 5322 3.4 and its obsolete forms are read
loosely: what is no address is left alone). Time grows with the length of the value, whatever is in it. Used by
`masquerade` to look, and by `mail/content.py` when a message leaves. Knows no table; raises nothing.
"""

import re
from collections.abc import Iterator, Mapping

_OUTSIDE = re.compile(rb'\\.|"(?:[^"\\]|\\.)*"|["(]', re.DOTALL)
_INSIDE = re.compile(rb"\\.|[()]", re.DOTALL)
_ELEMENT = re.compile(rb"[^,;]+")
_WORD = re.compile(
    rb'(?:"(?:[^"\\]|\\.)*"|[A-Za-z0-9!#$%&\'*+/=?^_`{|}~.\x80-\xff-]+)'
    rb"(?P<domain>@(?:\[[A-Za-z0-9.:]+\]|[A-Za-z0-9_.\x80-\xff-]+))?",
    re.DOTALL,
)


def addresses_of(raw: bytes) -> list[str]:
    """Give the addresses of a value as they are written, without those that are no UTF-8 or hold control characters."""
    return [text for _, _, text in _found(raw)]


def exchange(raw: bytes, changes: Mapping[str, str]) -> bytes:
    """Give the value with some addresses put in the place of others; all other octets stay."""
    out: list[bytes] = []
    at = 0
    for start, end, text in _found(raw):
        new = changes.get(text)
        if new is not None:
            out += [raw[at:start], new.encode()]
            at = end
    out.append(raw[at:])
    return b"".join(out)


def _found(raw: bytes) -> Iterator[tuple[int, int, str]]:
    masked = _masked(raw)
    for element in _ELEMENT.finditer(masked):
        start, end = element.span()
        opened = masked.rfind(b"<", start, end)
        if opened >= 0:
            closed = masked.find(b">", opened, end)
            start, end = opened + 1, closed if closed >= 0 else end
        for word in _WORD.finditer(masked, start, end):
            if word["domain"] is not None:
                text = _text(word[0])
                if text:
                    yield word.start(), word.end(), text


def _text(octets: bytes) -> str:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def _masked(raw: bytes) -> bytes:
    """Give the value with blanks in the place of comments, escapes and quoted strings that are no user names."""
    if b'"' not in raw and b"(" not in raw and b"\\" not in raw:
        return raw
    masked = bytearray(raw)
    depth = begun = at = 0
    while token := (_INSIDE if depth else _OUTSIDE).search(raw, at):
        start, at = token.span()
        if token[0] == b"(":
            begun = begun if depth else start
            depth += 1
        elif token[0] == b")":
            depth -= 1
            if not depth:
                masked[begun:at] = b" " * (at - begun)
        elif not depth and (token[0] == b'"' or raw[at : at + 1] != b"@"):
            masked[start:at] = b" " * (at - start)
    if depth:  # a comment that is never closed
        masked[begun:] = b" " * (len(masked) - begun)
    return bytes(masked)
