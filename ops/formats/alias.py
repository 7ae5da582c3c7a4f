"""The alias table in the model's file format (behaviour 2.16): `LEFT, LEFT: RIGHT, RIGHT`, under contexts of domains.

A line `[ example.com, .example.net ]` begins a context: names without a domain belong to its domains from there on, to
each of them. Names above the first context, or under `[ ]`, have no domain. In a row they stand as `user@domain` and
`user@.partial`. A line that ends in a comma goes on in the next one; `#` begins a comment.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ops.formats import Entry, Parsed, fault

HEAD = """\
# Alias table: LEFT, LEFT: ADDRESS, ALIAS, /dev/null
# under a [ DOMAIN, .PARTIAL ] names belong to it"""
_PIECE = re.compile(r'\s*((?:"(?:[^"\\]|\\.)*"|(?<=@)\[[^\]\s]*\]|[^,:"\s])+)\s*')
_UNCOMMENTED = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"#]|(?<=\S)#|")*')
_CONTEXT = re.compile(r"\[([^\]]*)\]")


class Aliases:
    """The format."""

    def parse(self, text: str) -> Parsed:
        """Read a text; the rows of a context come domain by domain."""
        faults: list[str] = []
        entries: list[Entry] = []
        domains: Sequence[str] = ("",)
        block: list[tuple[int, list[str], list[str]]] = []
        for number, line in _logical(text):
            context = _CONTEXT.fullmatch(line)
            if context is not None:
                entries += _entries(block, domains)
                block = []
                domains = [part.strip() for part in context[1].split(",") if part.strip()] or [""]
                continue
            try:
                block.append((number, *_sides(line)))
            except ValueError as error:
                faults.append(fault(number, str(error)))
        return Parsed((*entries, *_entries(block, domains)), tuple(faults))

    def format(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write rows in their order; neighbours with the same right side share a line."""
        lines = [HEAD]
        current = ""
        for domain, group in groupby(rows, key=_context_of):
            if domain != current:
                lines.append(f"[ {domain} ]" if domain else "[ ]")
                current = domain
            for targets, same in groupby(group, key=lambda row: ", ".join(map(_written, row["to"]))):
                names = [_name_in(str(row["alias"]), domain) for row in same]
                lines.append(f"{', '.join(names)}: {targets}")
        return "\n".join(lines) + "\n"


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """Give the lines without comments, those that go on joined, each with the number that it begins at."""
    begun, whole = 0, ""
    for number, raw in enumerate(text.split("\n"), 1):
        found = _UNCOMMENTED.match(raw)
        line = found[0].strip() if found is not None else ""
        if not line:
            continue
        if whole.endswith(","):
            whole += " " + line
            continue
        if whole:
            yield begun, whole
        begun, whole = number, line
    if whole:
        yield begun, whole


def _entries(block: Sequence[tuple[int, list[str], list[str]]], domains: Sequence[str]) -> Iterator[Entry]:
    for place, domain in enumerate(domains):
        for number, names, targets in block:
            for name in names:
                if not (place and _has_domain(name)):  # a full address stands for itself, once
                    full = f"{name}@{domain}" if domain and not _has_domain(name) else name
                    yield Entry(number, {"alias": full, "to": targets})


def _has_domain(name: str) -> bool:
    return "@" in (name.rpartition('"')[2] if '"' in name else name)


def _sides(line: str) -> tuple[list[str], list[str]]:
    """Split a line at its colon, and both sides at their commas. Raises `ValueError`."""
    names, at = _pieces(line, 0)
    if not names or line[at : at + 1] != ":":
        raise ValueError(f"LEFT: RIGHT is needed (found {line[:60]!r})")
    targets, at = _pieces(line, at + 1)
    if not targets or at < len(line):
        raise ValueError(f"an address, an alias or /dev/null is needed after the colon (found {line[:60]!r})")
    return names, targets


def _pieces(line: str, at: int) -> tuple[list[str], int]:
    found: list[str] = []
    while (piece := _PIECE.match(line, at)) is not None:
        found.append(piece[1])
        at = piece.end()
        if line[at : at + 1] != ",":
            break
        at += 1
    return found, at


def _context_of(row: Mapping[str, Any]) -> str:
    """Give the domain under which a row has to stand: of partial domains, and of rows that name other aliases."""
    name = str(row["alias"])
    local, at, domain = name.rpartition("@")
    if not at or not local or domain.startswith("["):
        return ""
    return domain if domain.startswith(".") or any(not _has_domain(one) for one in row["to"]) else ""


def _name_in(name: str, domain: str) -> str:
    return _written(name.removesuffix(f"@{domain}") if domain else name)


def _written(word: str) -> str:
    """Give a word as a file can have it: one that would begin a comment has its user name in quotes."""
    if not word.startswith("#"):
        return word
    user, at, domain = word.partition("@")
    return f'"{user}"{at}{domain}'
