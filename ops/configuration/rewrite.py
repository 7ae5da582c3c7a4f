"""Writing a configuration file so that what did not change stays as somebody wrote it, comments and all.

Sections that did not change keep their text; of a list of tables every row that is still there keeps its; of a plain
table the lines of other keys and the comments stay. What was written is read again before anybody trusts it.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ops.configuration.difference import filled, identity, is_rows, mark, sections
from ops.configuration.layout import Block, blocks_of
from ops.configuration.place import Tables
from ops.configuration.toml import pair, toml

_PAIR = re.compile(r"(#?)\s*([A-Za-z0-9_-]+)\s*=")


def rewrite(text: str, old: Tables, new: Tables) -> str:
    """Give the text of `new`, made from the text of `old`."""
    changed = sections(old, new)
    blocks = blocks_of(text)
    if blocks is None or _at_the_top(blocks[0], changed):
        return toml(new)
    written = "\n".join(_lines(blocks, old, new, changed)).strip("\n") + "\n"
    try:
        return written if filled(tomllib.loads(written)) == filled(new) else toml(new)
    except tomllib.TOMLDecodeError:
        return toml(new)


def _at_the_top(first: Block, changed: Sequence[str]) -> bool:
    return not set(changed).isdisjoint(tomllib.loads("\n".join(first.body)))


def _lines(blocks: Sequence[Block], old: Tables, new: Tables, changed: Sequence[str]) -> list[str]:
    lines: list[str] = []
    own: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        own[block.section].append(block)
    done: set[str] = set()
    for block in blocks:
        name = block.section
        if name not in changed or not name:
            lines += block.lines
        elif name not in done:
            done.add(name)
            lines += _section(name, own[name], old.get(name), new.get(name))
    for name in changed:
        if name not in done and name in new:
            _blank(lines)
            lines += toml({name: new[name]}).splitlines()
    return lines


def _section(name: str, blocks: Sequence[Block], old: Any, new: Any) -> list[str]:
    if is_rows(old) and (is_rows(new) or not new):
        return _rows(name, blocks, old, new or [])
    if isinstance(old, Mapping) and isinstance(new, Mapping) and len(blocks) == 1:
        return _plain(name, blocks[0], old, new)
    lines = list(blocks[0].head)
    if new is not None:
        lines += toml({name: new}).splitlines()
    for block in blocks:
        lines += block.tail
    return lines


def _rows(name: str, blocks: Sequence[Block], old: Sequence[Any], new: Sequence[Any]) -> list[str]:
    """Keep the text of each row that is still there, and the comments of one that is still called so."""
    written = _written(blocks)
    if len(written) != len(old):
        return [*toml({name: list(new)}).splitlines(), "", *(line for block in blocks for line in block.tail)]
    left = _Left(old, new)
    lines: list[str] = []
    for row in new:
        kept = left.same(row)
        if kept is not None:
            lines += [line for block in written[kept] for line in block.lines]
            continue
        _blank(lines)
        place = left.called(row)
        lines += _row(name, row, *((written[place], old[place]) if place is not None else ((), {})))
    return [*lines, *(line for place in left.places for block in written[place] for line in block.tail)]


def _written(blocks: Sequence[Block]) -> list[list[Block]]:
    """Part the blocks of a list of tables by its rows."""
    rows: list[list[Block]] = []
    for block in blocks:
        if block.opens and block.repeated:
            rows.append([block])
        elif rows:
            rows[-1].append(block)
    return rows


class _Left:
    """The rows of a list of tables that no row of the new list has taken yet."""

    def __init__(self, old: Sequence[Any], new: Sequence[Any]) -> None:
        self._key = identity(old, new)
        self._used: set[int] = set()
        self._same: dict[str, list[int]] = defaultdict(list)
        self._called: dict[str, list[int]] = defaultdict(list)
        wanted = {mark(row) for row in new}
        for place, row in reversed(list(enumerate(old))):
            found = mark(row)
            self._same[found].append(place)
            if self._key is not None and found not in wanted:
                self._called[str(row[self._key])].append(place)
        self._count = len(old)

    @property
    def places(self) -> list[int]:
        """Those that nobody took."""
        return [place for place in range(self._count) if place not in self._used]

    def same(self, row: Any) -> int | None:
        """Take one that holds the same."""
        return self._taken(self._same.get(mark(row)))

    def called(self, row: Any) -> int | None:
        """Take the one that is called the same."""
        return self._taken(self._called.get(str(row.get(self._key)))) if self._key is not None else None

    def _taken(self, places: list[int] | None) -> int | None:
        if not places:
            return None
        self._used.add(places[-1])
        return places.pop()


def _row(name: str, row: Mapping[str, Any], before: Sequence[Block], old: Mapping[str, Any]) -> list[str]:
    if not before:
        return toml({name: [row]}).splitlines()
    if len(before) == 1:
        return _plain(name, before[0], old, row)
    tails = [line for block in before for line in block.tail]
    return [*before[0].head, *toml({name: [row]}).splitlines(), *tails]


def _plain(name: str, block: Block, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Change the lines of a table one by one; one that holds tables or long values is written anew."""
    kept = [key for key in old if key in new and old[key] == new[key]]
    fresh = {key: value for key, value in new.items() if key not in kept}
    if any(isinstance(value, Mapping) or is_rows(value) for value in (*old.values(), *new.values())):
        text = toml({name: [new] if block.repeated else new}).splitlines()
        return [*block.head, *text, *block.tail]
    places = _places(block.body[1:])
    if places is None or set(places) != set(old):
        text = toml({name: [new] if block.repeated else new}).splitlines() if new else [block.body[0]]
        return [*block.head, *text, *block.tail]
    body = [block.body[0]]
    for line in block.body[1:]:
        match = _PAIR.match(line.strip())
        key = match[2] if match and not match[1] else ""
        if not key or key in kept:
            body.append(line)
        elif key in fresh:
            body.append(pair(key, fresh.pop(key)))
    tail: list[str] = []
    for line in block.tail:
        match = _PAIR.match(line.strip())
        tail.append(line)
        if match and match[1] and match[2] in fresh:
            tail.append(pair(match[2], fresh.pop(match[2])))
    return [*block.head, *body, *(pair(key, value) for key, value in fresh.items()), *tail]


def _places(lines: Sequence[str]) -> list[str] | None:
    """Name the keys of a table whose pairs stand in one line each; None if one does not."""
    names = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _PAIR.match(text)
        try:
            pairs = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return None
        if match is None or list(pairs) != [match[2]]:
            return None
        names.append(match[2])
    return names


def _blank(lines: list[str]) -> None:
    if lines and lines[-1].strip():
        lines.append("")
