"""Tables for a terminal: columns as wide as their cells, shortened only as far as the terminal makes it necessary."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ops.cli.display import columns, cut, pad

T = TypeVar("T")


@dataclass(frozen=True)
class Column:
    """A column: its title (a line break makes a second header line) and how it behaves."""

    title: str
    right: bool = False
    least: int = 0
    """A column with `least` above 0 may be shortened, down to so many columns."""


def table(heads: Sequence[Column], rows: Sequence[Sequence[str]], width: int = 0, *, gap: int = 2) -> str:
    """Lay out rows of clean cells under their heads; `width` 0 means as wide as it comes."""
    titles = [head.title.split("\n") for head in heads]
    if width and rows and sum(_widths(titles, rows)) + gap * (len(heads) - 1) > width:
        titles = [_narrowed(title, room) for title, room in zip(titles, _widths([], rows), strict=True)]
    height = max(len(lines) for lines in titles)
    header = [[""] * (height - len(lines)) + lines for lines in titles]
    widths = _widths(header, rows)
    if width:
        widths = _fit(heads, widths, width - gap * (len(heads) - 1))
    lines = [[header[i][n] for i in range(len(heads))] for n in range(height)]
    return "\n".join(_line(heads, cells, widths, gap) for cells in [*lines, *rows])


def tall_table(heads: Sequence[Column], rows: Sequence[Sequence[str]], width: int, below: int) -> str:
    """Lay out a table; where the terminal has no room, the cells of column `below` stand in lines of their own."""
    whole = table(heads, rows, width)
    if not rows or not width or max(map(columns, whole.split("\n"))) <= width:
        return whole
    top, *lines = table(_without(heads, below), [_without(row, below) for row in rows], width).split("\n")
    return "\n".join([top, *(f"{line}\n    {row[below]}" for line, row in zip(lines, rows, strict=True))])


def _without(items: Sequence[T], place: int) -> list[T]:
    return [*items[:place], *items[place + 1 :]]


def _widths(header: Sequence[Sequence[str]], rows: Sequence[Sequence[str]]) -> list[int]:
    """Give the columns that each column of cells needs."""
    count = len(header or (rows[0] if rows else ()))
    return [
        max([0, *(columns(line) for line in (header[i] if header else ())), *(columns(row[i]) for row in rows)])
        for i in range(count)
    ]


def _narrowed(title: list[str], room: int) -> list[str]:
    """Break a title of one line that is wider than its cells, into two lines or hardly more."""
    if len(title) > 1 or len(title[0]) <= room:
        return title
    return textwrap.wrap(title[0], max(room, len(title[0]) // 2 + 1), break_long_words=False) or title


def _fit(heads: Sequence[Column], widths: list[int], room: int) -> list[int]:
    """Take columns from the widest that may be shortened until the line fits or nothing is left to take."""
    widths = list(widths)
    while sum(widths) > room:
        shrinkable = [i for i, head in enumerate(heads) if head.least and widths[i] > head.least]
        if not shrinkable:
            break
        widths[max(shrinkable, key=lambda i: widths[i])] -= 1
    return widths


def _line(heads: Sequence[Column], cells: Sequence[str], widths: Sequence[int], gap: int) -> str:
    parts = [
        pad(cut(cell, width), width, right=head.right) for head, cell, width in zip(heads, cells, widths, strict=True)
    ]
    return (" " * gap).join(parts).rstrip()
