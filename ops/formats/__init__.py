"""Text formats in which tables leave the machine and come back: one module per format, pure functions of text.

The table commands (`ops/cli/editing`) print, export and import by them. A format gives for each row the words of its
keys and the line they stand in; whether the words are good, the configuration's models say. Nothing here reads files
or raises: what cannot be read is a fault `line N: reason`, and all of them are told.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Words = str | list[str]


@dataclass(frozen=True)
class Entry:
    """One row as a file has it: the words of its keys; `lines` says where a key stands if not in `line`."""

    line: int
    values: Mapping[str, Words]
    lines: Mapping[str, int] = field(default_factory=dict)

    def at(self, key: str) -> int:
        """Give the line in which a key stands."""
        return self.lines.get(key, self.line)


@dataclass(frozen=True)
class Parsed:
    """What a text holds: rows, what cannot be read (`line N: reason`), and what is read but not kept."""

    entries: tuple[Entry, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Format(Protocol):
    """A text format of one table."""

    def parse(self, text: str) -> Parsed:
        """Read a text."""

    def format(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write rows, as TOML has their values, so that `parse` reads the same."""


def fault(line: int, reason: str) -> str:
    """Word a fault."""
    return f"line {line}: {reason}"


def word_of(value: Any) -> str:
    """Give a value as a format writes it, before quoting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def quoted(word: str, unsafe: str) -> str:
    """Give a word as it is, or as a JSON string if it is empty or has characters that would be misread."""
    if word and not any(char in unsafe or char.isspace() or not char.isprintable() for char in word):
        return word
    return json.dumps(word)


def unquoted(word: str) -> str:
    """Undo `quoted`. Raises `ValueError`."""
    if len(word) > 1 and word[0] == word[-1] == '"':
        found = json.loads(word)
        if isinstance(found, str):
            return found
    return word
