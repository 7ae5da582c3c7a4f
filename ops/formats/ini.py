"""Rows as sections: `[NAME]`, then `key = value` lines; `#` or `;` begins a comment line.

Used for bounce profiles and interfaces as it is, and by `destinations`, which has the model's own names for keys.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.formats import Entry, Parsed, Words, fault, quoted, unquoted, word_of

_HEAD = re.compile(r"\[(.+)\]")


class Sections:
    """A format of one section per row, named by the key `name`."""

    def __init__(self, head: str, name: str) -> None:
        """`head` is the comment that an exported file begins with."""
        self._head = head
        self._name = name

    def parse(self, text: str) -> Parsed:
        """Read a text."""
        entries: list[Entry] = []
        faults: list[str] = []
        values: dict[str, Words] = {}
        lines: dict[str, int] = {}
        for number, line in _lines(text):
            if head := _HEAD.fullmatch(line):
                values, lines = {self._name: unquoted_or_as_it_is(head[1].strip())}, {}
                entries.append(Entry(number, values, lines))
                continue
            reason = self._take(line, number, values, lines)
            if reason:
                faults.append(fault(number, reason))
        return Parsed(tuple(entries), tuple(faults))

    def _take(self, line: str, number: int, values: dict[str, Words], lines: dict[str, int]) -> str:
        """Take one line into the section it stands in; gives what is wrong with it."""
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not key:
            return f"[NAME] or KEY = VALUE is needed (found {line[:60]!r})"
        if not values:
            return f"{key} stands before the first [NAME]"
        if key in values:
            return f"{key} stands in line {lines.get(key, number)} already"
        values[key] = unquoted_or_as_it_is(value)
        lines[key] = number
        return ""

    def format(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write rows, a section each."""
        return "\n".join([f"# {self._head}\n", *(self._section(row) for row in rows)])

    def _section(self, row: Mapping[str, Any]) -> str:
        lines = [f"[{quoted(str(row[self._name]), '')}]"]
        lines += [f"{key} = {_value(value)}" for key, value in flat(row) if key != self._name]
        return "\n".join(lines) + "\n"


def flat(row: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Give the keys of a row with their values, those of sections within it by dotted names."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and line[0] not in "#;":
            yield number, line


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        words = [word_of(item) for item in value]
        plain = all(_plain(word) and "," not in word and word[0] != "[" for word in words)
        return ", ".join(words) if plain else json.dumps(words)
    word = word_of(value)
    return word if _plain(word) else quoted(word, '" ') if word else '""'


def _plain(word: str) -> bool:
    """Tell whether a word can stand as it is."""
    return bool(word) and word.isprintable() and word == word.strip() and word[0] != '"'


def unquoted_or_as_it_is(text: str) -> str:
    """Undo quoting; what only looks quoted stays."""
    try:
        return unquoted(text)
    except ValueError:
        return text
