"""How a configuration file is laid out: its blocks, each a table's header with what stands around it.

`rewrite.py` puts changed sections into such a layout and leaves the others as somebody wrote them. Pure functions on
text; what they cannot make out they say by giving None, and the file is written anew then.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

_HEADER = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_-]+)\s*(\.|\])")
_QUOTES = ('"""', "'''")


@dataclass
class Block:
    """A table as it is written: comments right above its header, header and pairs, then blank lines and comments."""

    section: str
    """The first part of the table's name; '' for what stands before any table."""
    opens: bool
    """Whether it is `[section]` or `[[section]]` itself and not a table below."""
    repeated: bool
    """Whether the header has two brackets."""
    head: list[str] = field(default_factory=list)
    body: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """All its lines."""
        return [*self.head, *self.body, *self.tail]


def blocks_of(text: str) -> list[Block] | None:
    """Part a valid TOML text into its blocks, in order; None if a header is of a form that is not known here."""
    blocks = [Block("", opens=True, repeated=False)]
    for line, starts in _statements(text):
        here = blocks[-1]
        if starts and line.lstrip().startswith("["):
            found = _opened(line)
            if found is None:
                return None
            found.head = _above(here)
            found.body.append(line)
            blocks.append(found)
        elif starts and (not line.strip() or line.lstrip().startswith("#")):
            here.tail.append(line)
        else:
            here.body += [*here.tail, line]
            here.tail.clear()
    return blocks


def _opened(line: str) -> Block | None:
    match = _HEADER.match(line)
    if match is not None:
        return Block(match[2], opens=match[3] == "]", repeated=match[1] == "[[")
    try:
        table = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return None
    ((name, value),) = table.items()
    repeated = isinstance(value, list)
    return Block(name, opens=not (value[0] if repeated else value), repeated=repeated)


def _above(block: Block) -> list[str]:
    """Take the comments that stand right above a header from the end of the block before."""
    count = 0
    while count < len(block.tail) and block.tail[-1 - count].strip():
        count += 1
    taken = block.tail[len(block.tail) - count :]
    del block.tail[len(block.tail) - count :]
    return taken


def _statements(text: str) -> Iterator[tuple[str, bool]]:
    """Give each line, and whether a statement begins with it, which is not so inside of a long value."""
    quote, depth = "", 0
    for line in text.splitlines():
        yield line, not quote and not depth
        if quote or depth or _may_go_on(line):
            quote, depth = _after(line, quote, depth)


def _may_go_on(line: str) -> bool:
    if line.lstrip().startswith(("#", "[")):
        return False
    return "[" in line or "{" in line or any(mark in line for mark in _QUOTES)


def _after(line: str, quote: str, depth: int) -> tuple[str, int]:
    """Follow strings and brackets through a line; gives what is open at its end."""
    place = 0
    while place < len(line):
        if quote:
            place, quote = _in_string(line, place, quote)
            continue
        if line[place] == "#":
            break
        for mark in (*_QUOTES, '"', "'"):
            if line.startswith(mark, place):
                quote = mark
                place += len(mark)
                break
        else:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(line[place], 0)
            place += 1
    return (quote if len(quote) == 3 else ""), depth


def _in_string(line: str, place: int, quote: str) -> tuple[int, str]:
    if line[place] == "\\" and quote[0] == '"':
        return place + 2, quote
    if line.startswith(quote, place):
        end = place + len(quote)
        while len(quote) == 3 and line.startswith(quote[0], end):
            end += 1
        return end, ""
    return place + 1, quote
