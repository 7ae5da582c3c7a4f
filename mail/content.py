"""A message as it leaves: trace lines on top, header edits applied, the content otherwise octet for octet as it came.

Delivery, the transfer to the quarantine and `trace` call `render` (whole message) or `render_chunks` (large ones).
It never parses and rebuilds: inserted headers go between trace and content, stripped ones are cut out of the
header section, everything else is copied. Knows no file and no policy; raises nothing of its own.
"""

import re
from collections.abc import Iterable, Iterator
from email.header import Header

from core.record import Accepted, Edit, Outcome
from mail.mime import MAX_BLOCK, Headers, cut_fields

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_LINE = 900
"""Octets after which an inserted value is folded; RFC 5322 2.1.1 allows 998."""


def render(accepted: Accepted, outcome: Outcome | None, content: bytes) -> bytes:
    """Give the octets to deliver."""
    if outcome is None or not outcome.edits:
        return accepted.trace + content
    inserted, cut = _plan(outcome.edits)
    if cut:
        end = Headers(content[: MAX_BLOCK + 4]).end
        content = cut_fields(content[:end], cut) + content[end:]
    return accepted.trace + inserted + content


def render_chunks(accepted: Accepted, outcome: Outcome | None, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give the octets to deliver piece by piece; holds at most the header section in memory."""
    inserted, cut = _plan(outcome.edits) if outcome is not None else (b"", frozenset())
    head = accepted.trace + inserted
    if head:
        yield head
    source = iter(chunks)
    if cut:
        section = b""
        for chunk in source:
            section += chunk
            if len(section) > MAX_BLOCK + 4:
                break
        end = Headers(section[: MAX_BLOCK + 4]).end
        yield cut_fields(section[:end], cut)
        yield section[end:]
    yield from source


def _plan(edits: Iterable[Edit]) -> tuple[bytes, frozenset[bytes]]:
    """Give the header lines to put on top and the lower case names to cut from the content."""
    inserted: list[tuple[bytes, bytes]] = []
    cut: set[bytes] = set()
    for edit in edits:
        key = edit.name.lower().encode()
        if edit.action == "strip":
            cut.add(key)
            inserted = [item for item in inserted if item[0] != key]
        else:
            inserted.insert(0, (key, header_line(edit.name, edit.value)))
    return b"".join(line for _, line in inserted), frozenset(cut)


def header_line(name: str, value: str) -> bytes:
    """Give one header field with its CRLF: text beyond ASCII as encoded words (RFC 2047), long values folded."""
    value = _CONTROL.sub(" ", value).strip()
    if not value.isascii():
        encoded = Header(value, "utf-8", header_name=name, errors="replace").encode(linesep="\r\n")
        return f"{name}: {encoded}\r\n".encode("ascii", "replace")
    text = f"{name}: {value}"
    lines: list[str] = []
    while len(text) > _LINE:
        at = text.rfind(" ", len(name) + 2, _LINE)
        at = at if at > 0 else _LINE
        lines.append(text[:at].rstrip())
        text = " " + text[at:].lstrip()
    lines.append(text)
    return "\r\n".join(lines).encode() + b"\r\n"
