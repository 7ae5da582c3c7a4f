"""One row a line: `KEY`, `KEY VALUE` or `KEY VALUE, VALUE …`; `#` begins a comment. Used for routes and their like."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ops.formats import Entry, Parsed, Words, fault, quoted, unquoted, word_of

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"(?=[\s,]|$)|[^\s,]+')
_SEPARATOR = re.compile(r"\s*,\s*|\s+")


class Lines:
    """A format of one or two keys: the first names the row, the second has one word, or several if `several`."""

    def __init__(self, head: str, *keys: str, several: bool = False) -> None:
        """`head` is the comment that an exported file begins with."""
        self._head = head
        self._keys = keys
        self._several = several

    def parse(self, text: str) -> Parsed:
        """Read a text."""
        entries: list[Entry] = []
        faults: list[str] = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                entries.append(Entry(number, self._values(_words(line))))
            except ValueError as error:
                faults.append(fault(number, str(error)))
        return Parsed(tuple(entries), tuple(faults))

    def _values(self, words: list[str]) -> dict[str, Words]:
        if len(self._keys) == 1:
            if len(words) != 1:
                raise ValueError(f"one word is needed: {self._keys[0].upper()}")
            return {self._keys[0]: words[0]}
        first, second = self._keys
        most = len(words) if self._several else 2
        if not 2 <= len(words) <= most:
            raise ValueError(f"{first.upper()} {second.upper()}{'…' if self._several else ''} is needed")
        return {first: words[0], second: words[1:] if self._several else words[1]}

    def format(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Write rows, their second words in a column."""
        cells = [[self._cell(row[key]) for key in self._keys if key in row] for row in rows]
        width = min(max((len(cell[0]) for cell in cells), default=0), 40)
        return f"# {self._head}\n" + "".join(
            "  ".join([cell[0].ljust(width), *cell[1:]]).rstrip() + "\n" for cell in cells
        )

    def _cell(self, value: Any) -> str:
        words = value if isinstance(value, list | tuple) else [value]
        return ", ".join(quoted(word_of(word), _unsafe(word)) for word in words)


def _unsafe(word: Any) -> str:
    """A colon only misleads at the end of a word, a hash only at its beginning."""
    text = str(word)
    return ',"' + ("#" if text.startswith("#") else "") + (":" if text.endswith(":") else "")


def _words(line: str) -> list[str]:
    """Split a line into words; the first one may end in a colon. Raises `ValueError`."""
    words: list[str] = []
    place = 0
    line = re.sub(r'\s#[^"]*$', "", line).strip()
    while place < len(line):
        found = _WORD.match(line, place)
        if found is None:
            raise ValueError(f"a comma without a word before it: {line[:60]!r}")
        word = found[0]
        words.append(unquoted(word) if words or word.startswith('"') else word.removesuffix(":"))
        place = found.end()
        separator = _SEPARATOR.match(line, place)
        place = separator.end() if separator else place
    return words
