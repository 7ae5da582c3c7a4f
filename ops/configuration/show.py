"""The difference between two configurations as an operator reads it: a tree of sections, rows and keys.

Rows are called by their name, domain or address where each has one of its own, else by their place. Secrets are masked;
that one has changed is shown all the same. Pure functions, called by `showchanges` and `commitdetail`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.configuration.difference import identity, is_rows, mark, sections
from ops.configuration.mask import mask
from ops.configuration.toml import inline

Change = dict[str, Any]
"""`at`: the names from the section down; `kind`: added, removed or changed; `old`, `new` where there is such."""


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """List what differs, in the order of the sections."""
    return [item for name in sections(old, new) for item in _of((name,), old.get(name), new.get(name))]


def _of(at: tuple[str, ...], old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            if old.get(key) != new.get(key) or (key in old) != (key in new):
                yield from _of((*at, key), old.get(key), new.get(key))
    elif (is_rows(old) or old is None or old == []) and (is_rows(new) or new is None or new == []) and old != new:
        yield from _rows(at, old or [], new or [])
    else:
        yield _change(at, old, new)


def _change(at: tuple[str, ...], old: Any, new: Any) -> Change:
    kind = "added" if old is None else "removed" if new is None else "changed"
    values = {key: mask(value, at[-1]) for key, value in (("old", old), ("new", new)) if value is not None}
    return {"at": list(at), "kind": kind, **values}


def _rows(at: tuple[str, ...], old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    key = identity(old, new)
    if key is None:
        yield from _nameless(at, old, new)
        return
    before = {str(row[key]): row for row in old}
    after = {str(row[key]): row for row in new}
    for name in dict.fromkeys([*before, *after]):
        here = (*at, name)
        if name not in before or name not in after:
            yield _change(here, before.get(name), after.get(name))
        elif before[name] != after[name]:
            yield from _of(here, before[name], after[name])
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        yield {"at": list(at), "kind": "order", "old": kept, "new": [name for name in after if name in before]}


def _nameless(at: tuple[str, ...], old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    for place, row in _alone(old, new):
        yield _change((*at, place), row, None)
    for place, row in _alone(new, old):
        yield _change((*at, place), None, row)


def _alone(rows: Sequence[Any], others: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Give the rows that have no counterpart among others, with their places from 1."""
    left = [mark(row) for row in others]
    for place, row in enumerate(rows, 1):
        if mark(row) in left:
            left.remove(mark(row))
        else:
            yield str(place), row


def tree(items: Sequence[Change]) -> list[str]:
    """Draw changes as a nested tree, one key or row a line: `+` is new, `-` is gone, `~` another value or order."""
    lines: list[str] = []
    above: list[str] = []
    for item in items:
        at = [str(name) for name in item["at"]]
        same = 0
        while same < min(len(above), len(at) - 1) and above[same] == at[same]:
            same += 1
        for depth in range(same, len(at) - 1):
            lines.append(f"{'  ' * depth}{at[depth]}")
        above = at[:-1]
        lines += _drawn(item, "  " * (len(at) - 1))
    return lines


def _drawn(item: Change, indent: str) -> list[str]:
    name, kind = str(item["at"][-1]), item["kind"]
    if kind == "order":
        return [f"{indent}~ {name}: order {', '.join(map(str, item['new']))}"]
    if kind == "changed":
        return [f"{indent}~ {name}: {inline(item['old'])} -> {inline(item['new'])}"]
    mark_, value = ("+", item["new"]) if kind == "added" else ("-", item["old"])
    if isinstance(value, Mapping):
        return [f"{indent}{mark_} {name}", *_keys(value, f"{indent}    ")]
    return [f"{indent}{mark_} {name}: {inline(value)}"]


def _keys(table: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}"
            yield from _keys(value, f"{indent}  ")
        elif is_rows(value):
            yield f"{indent}{key}"
            known = identity(None, value)
            for place, row in enumerate(value, 1):
                yield f"{indent}  {row[known] if known else place}"
                yield from _keys({name: item for name, item in row.items() if name != known}, f"{indent}    ")
        else:
            yield f"{indent}{key}: {inline(value)}"
