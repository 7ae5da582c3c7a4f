"""Rows of a table in a document of plain TOML types: finding, reading and writing them, and their faults.

`Described` joins a declaration with the schema. Used by the operations of this package. Raises `GatepostError`: 66
for what is not there, 65 for a row that cannot be.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from core.schema import Fault, Key, Refused, Row, Schema, Shape, complete, get, parts_of, put
from ops.cli.editing.table import Path, Reference, Settings, Table
from ops.cli.registry import is_place
from ops.configuration.place import Tables

MOST_FAULTS = 100
"""Faults that one error tells."""


@dataclass(frozen=True)
class Described:
    """A table with the shape of its rows."""

    table: Table
    shape: Shape
    check: Callable[[Any], list[Fault]]
    plain: bool
    """Rows are plain words."""
    most: float | None = None

    @property
    def noun(self) -> str:
        """What the rows are called in documents: the key of the table."""
        return self.table.path[-1]

    @property
    def keys(self) -> list[Key]:
        """The keys of a row that have a value."""
        return list(self.shape.flat())

    def key(self, name: str) -> Key:
        """Give a key of the rows."""
        return next(key for key in self.keys if key.name == name)

    def name(self, row: Mapping[str, Any]) -> str:
        """Give what a row is called."""
        found = row.get(self.table.key)
        return str(self.key(self.table.key).default or "") if found is None else str(found)

    def place(self, rows: Sequence[Row], name: str) -> int | None:
        """Give the place of the row of that name, in any case."""
        wanted = name.strip().rstrip(".").lower()
        return next((n for n, row in enumerate(rows) if self.name(row).rstrip(".").lower() == wanted), None)

    def fixed(self, name: str) -> str:
        """Give the name of the row that is always there, as it is written; '' if the name is not that of one."""
        return next((fixed for fixed in self.table.fixed if fixed.lower() == name.strip().lower()), "")

    def effective(self, row: Row, rows: Sequence[Row]) -> Row:
        """Give a row with what counts where it says nothing: of the fallback row, else the default."""
        full = complete(self.shape, row)
        place = self.place(rows, self.table.fallback) if self.table.fallback else None
        if place is not None:
            for key in self.keys:
                if get(row, key.name) is None and get(rows[place], key.name) is not None and key.name != self.table.key:
                    put(full, key.name, get(rows[place], key.name))
        return full

    def load(self, tables: Mapping[str, Any], places: Sequence[str] = ()) -> list[Row]:
        """Give copies of the rows, plain words made rows. Raises status 66 for a place that is not there."""
        holder, last = holder_of(tables, self.table.path, places)
        return [self._row(item) for item in holder.get(last) or []]

    def store(self, tables: Tables, rows: Sequence[Row], places: Sequence[str] = ()) -> None:
        """Write the rows back. Raises status 66 for a place that is not there, 65 for too many rows."""
        if self.most is not None and len(rows) > self.most:
            raise GatepostError(f"{len(rows):,} {self.table.many}, at most {self.most:,.0f} are allowed", EX_DATAERR)
        holder, last = holder_of(tables, self.table.path, places, create=True)
        if rows:
            holder[last] = [self._raw(row) for row in rows]
        else:
            holder.pop(last, None)

    def _row(self, item: Any) -> Row:
        if isinstance(item, Mapping):
            # A row that leaves its name to the default has it all the same, in files and in commands.
            return dict(item) if self.table.key in item else {self.table.key: self.name(item), **item}
        return {self.table.bare or self.table.key: item}

    def _raw(self, row: Row) -> Any:
        if self.plain:
            return row[self.table.key]
        return row[self.table.bare] if self.table.bare and set(row) == {self.table.bare} else row

    def faults(self, row: Row) -> list[Fault]:
        """Give what is wrong with a row."""
        return self.check(row[self.table.key] if self.plain else row)


def described(table: Table, schema: Schema) -> Described:
    """Find the shape of a table. Raises `KeyError` if the schema has no such table."""
    key = _at(table.path, schema)
    if key.kind == "table" and key.shape is not None:
        return Described(table, key.shape, key.check_row, False, key.most)
    item = replace(key.item or Key(table.key), name=table.key, required=True, description=table.one)
    return Described(table, Shape(key.description, (item,)), _word_check(item), True, key.most)


def _word_check(item: Key) -> Callable[[Any], list[Fault]]:
    def check(word: Any) -> list[Fault]:
        try:
            item.check(word)
        except Refused as error:
            return [Fault("", str(error))]
        return []

    return check


def shape_of(settings: Settings, schema: Schema) -> Shape:
    """Find the keys of a section, those it is about in their order. Raises `KeyError`."""
    shape = _at(settings.path, schema).shape or Shape("", ())
    if not settings.keys:
        return replace(shape, keys=tuple(shape.flat()))
    return replace(shape, keys=tuple(next(key for key in shape.flat() if key.name == name) for name in settings.keys))


def _at(path: Path, schema: Schema) -> Key:
    key = schema[path[0]]
    for part in path[1:]:
        if not is_place(part):
            key = (key.shape or Shape("", ())).key(part)
    return key


def holder_of(
    tables: Mapping[str, Any], path: Path, places: Sequence[str], *, create: bool = False
) -> tuple[dict[str, Any], str]:
    """Give what holds the last part of a path, and that part; with `create`, sections that are not there are made."""
    node: Any = tables
    waiting = list(places)
    for part, following in pairwise(path):
        if is_place(part):
            node = _named(node, waiting.pop(0))
            continue
        empty: Any = [] if is_place(following) else {}
        node = node.setdefault(part, empty) if create and part not in node else node.get(part, empty)
    return node, path[-1]


def _named(rows: Any, name: str) -> Any:
    for row in rows:
        if isinstance(row, Mapping) and str(row.get("name", "")).lower() == name.lower():
            return row
    there = ", ".join(str(row.get("name", "")) for row in rows[:20] if isinstance(row, Mapping)) or "none"
    raise GatepostError(f"there is no {name}; there are: {there}", EX_NOINPUT)


def section_of(tables: Tables, path: Path, places: Sequence[str], *, create: bool = False) -> dict[str, Any]:
    """Give a section of the document."""
    holder, last = holder_of(tables, path, places, create=create)
    if is_place(last):
        found = _named(holder, places[-1])
    else:
        found = holder.setdefault(last, {}) if create else holder.get(last, {})
    return dict(found) if not create else found


def names_of(reference: Reference, tables: Mapping[str, Any]) -> list[str]:
    """Give the names that a key may refer to."""
    names = {name.lower(): name for name in reference.also}
    for path in (reference.path, *reference.more):
        holder, last = holder_of(tables, path, ())
        for row in holder.get(last) or []:
            name = str(row.get(reference.key, ""))
            names.setdefault(name.lower(), name)
    return list(names.values())


def value_of(key: Key, given: Any) -> Any:
    """Give the value that words of a command line mean. Raises status 65 with the reason."""
    try:
        if isinstance(given, list):
            words = [part for word in given for part in parts_of(word)]
            if key.kind == "list" and key.item is not None:
                return [key.item.read(word) for word in words]
            return key.read(" ".join(words))
        return key.read(str(given))
    except Refused as error:
        raise GatepostError(f"{key.name}: {error}", EX_DATAERR) from None


def refuse(faults: Sequence[object]) -> None:
    """Raise status 65 with every fault, if there is one."""
    if faults:
        lines = [str(fault) for fault in faults[:MOST_FAULTS]]
        if len(faults) > MOST_FAULTS:
            lines.append(f"and {len(faults) - MOST_FAULTS:,} more")
        raise GatepostError("\n".join(lines), EX_DATAERR)
