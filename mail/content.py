"""A message as it leaves: trace lines on top, header edits applied, the content otherwise octet for octet as it came.

Delivery, the transfer to the quarantine and `trace` call `render` (whole message) or `render_chunks` (large ones).
It never parses and rebuilds: inserted headers go between trace and content, stripped ones are cut out of the
header section, masqueraded addresses are exchanged where they stand, everything else is
copied. Knows no file and no policy; raises nothing of its own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.header import Header
from functools import partial
from itertools import chain

from core.record import Accepted, Edit, Outcome
from mail.mime import MAX_BLOCK, Headers, change_fields, cut_fields, unfold
from mail.rewrite.header import exchange

_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_LINE = 900
"""Octets after which an inserted value is folded; RFC 5322 2.1.1 allows 998."""
_PIECE = 12_000
"""Characters of the value of one edit; docs/protocol/quarantine.md has the limit."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of a header section."""

    inserted: bytes
    """Lines to put on top."""
    cut: frozenset[bytes]
    """Lower case names of fields to take away."""
    changes: dict[bytes, dict[str, str]]
    """By lower case name, addresses to exchange within the fields that came with the content."""
    splices: list[tuple[int, bytes]]
    """Octets to insert behind the header section, by their offset in the content."""

    @property
    def touches_content(self) -> bool:
        return bool(self.cut or self.changes or self.splices)

    def body(self, chunks: Iterable[bytes], at: int) -> Iterator[bytes]:
        """Give what is behind the header section, which ends at the offset `at`, with what is inserted there."""
        waiting = list(self.splices)
        for chunk in chunks:
            while waiting and waiting[0][0] <= at + len(chunk):
                offset, octets = waiting.pop(0)
                yield chunk[: offset - at]
                yield octets
                chunk, at = chunk[offset - at :], offset  # noqa: PLW2901
            yield chunk
            at += len(chunk)

    def apply(self, section: bytes) -> bytes:
        """Give the header section of the content as it leaves."""
        if self.changes:
            section = change_fields(
                section, {name: partial(exchange, changes=pairs) for name, pairs in self.changes.items()}
            )
        return cut_fields(section, self.cut) if self.cut else section


_NO_PLAN = _Plan(b"", frozenset(), {}, [])


def render(accepted: Accepted, outcome: Outcome | None, content: bytes) -> bytes:
    """Give the octets to deliver."""
    if outcome is None or not outcome.edits:
        return accepted.trace + content
    plan = _plan(outcome.edits)
    if plan.touches_content:
        end = Headers(content[: MAX_BLOCK + 4]).end
        content = plan.apply(content[:end]) + b"".join(plan.body((content[end:],), end))
    return accepted.trace + plan.inserted + content


def render_chunks(accepted: Accepted, outcome: Outcome | None, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give the octets to deliver piece by piece; holds at most the header section in memory."""
    plan = _plan(outcome.edits) if outcome is not None else _NO_PLAN
    head = accepted.trace + plan.inserted
    if head:
        yield head
    source = iter(chunks)
    if plan.touches_content:
        section = b""
        for chunk in source:
            section += chunk
            if len(section) > MAX_BLOCK + 4:
                break
        end = Headers(section[: MAX_BLOCK + 4]).end
        yield plan.apply(section[:end])
        yield from plan.body(chain((section[end:],), source), end)
    else:
        yield from source


def _plan(edits: Iterable[Edit]) -> _Plan:
    inserted: list[tuple[bytes, bytes]] = []
    cut: set[bytes] = set()
    changes: dict[bytes, dict[str, str]] = {}
    splices: list[tuple[int, bytes]] = []
    for edit in edits:
        key = edit.name.lower().encode()
        if edit.action == "strip":
            cut.add(key)
            inserted = [item for item in inserted if item[0] != key]
        elif edit.action == "replace":
            changes.setdefault(key, {}).update(_pairs(edit.value))
        elif edit.action == "splice":
            splices.append(_splice(edit.value))
        else:
            inserted.insert(0, (key, header_line(edit.name, edit.value)))
    splices.sort(key=lambda splice: splice[0])
    return _Plan(b"".join(line for _, line in inserted), frozenset(cut), changes, splices)


def splice(where: str, offset: int, charset: str, text: str) -> Edit:
    """Write down that a text is inserted at an offset of the content, behind its header section."""
    return Edit("splice", where, f"{offset} {charset}\n{text}")


def _splice(value: str) -> tuple[int, bytes]:
    place, _, text = value.partition("\n")
    offset, _, charset = place.partition(" ")
    return int(offset), text.encode(charset, "replace")


def edited_values(headers: Headers, edits: Sequence[Edit]) -> dict[bytes, list[bytes]]:
    """Give the values, unfolded, of the fields in which addresses are exchanged, by lower case name."""
    changes = _plan(edits).changes
    return {
        name: [unfold(exchange(raw, pairs)) for key, raw in headers.fields if key == name]
        for name, pairs in changes.items()
    }


def replacements(name: str, changes: Mapping[str, str]) -> list[Edit]:
    """Write down that addresses within the fields of a name are exchanged, in pieces that the quarantine takes."""
    edits: list[Edit] = []
    lines: list[str] = []
    size = 0
    for old, new in changes.items():
        line = f"{old}\t{new}"
        if lines and size + len(line) > _PIECE:
            edits.append(Edit("replace", name, "\n".join(lines)))
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    return [*edits, Edit("replace", name, "\n".join(lines))] if lines else edits


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    for line in value.split("\n"):
        old, _, new = line.partition("\t")
        yield old, new


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
