"""What differs between two configurations, by section and by row: for showing, for merging, for blaming faults.

Pure functions on plain tables; rows of a list of tables are told apart by what they hold, not by their place.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from core.errors import Problem
from ops.configuration.place import Tables


def mark(value: Any) -> str:
    """Give a text that is the same for values that are the same."""
    return json.dumps(value, sort_keys=True, default=str)


def sections(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the sections that differ, in the order of the documents; an empty one is like none."""
    names = dict.fromkeys([*old, *new])
    return [name for name in names if (old.get(name) or None) != (new.get(name) or None)]


def filled(tables: Mapping[str, Any]) -> Tables:
    """Give the sections that hold anything."""
    return {name: value for name, value in tables.items() if value}


def is_rows(value: Any) -> bool:
    """Tell whether a value is a list of tables."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def rows_that_are_new(old: Any, new: Any) -> list[int]:
    """Give the places, from 0, of the rows of `new` that are not in `old`."""
    there = Counter(mark(row) for row in old) if is_rows(old) else Counter[str]()
    places = []
    for place, row in enumerate(new):
        found = mark(row)
        if there[found]:
            there[found] -= 1
        else:
            places.append(place)
    return places


_IDENTITIES = ("name", "domain", "match", "alias", "recipient", "address", "hostname", "id")


def identity(old: Any, new: Any) -> str | None:
    """Give the key by which rows of a table are known: one that each row has, and no two of a side share."""
    for key in _IDENTITIES:
        for rows in (old, new):
            values = [row.get(key) for row in rows or ()]
            if not all(isinstance(value, str) for value in values) or len(set(values)) != len(values):
                break
        else:
            return key
    return None


def touched(old: Tables, new: Tables) -> list[str]:
    """Give the keys under which `new` is not what `old` is, as faults name them: `dns`, `listener[2]`."""
    keys = []
    for name in sections(old, new):
        value = new.get(name)
        if is_rows(value):
            keys += [f"{name}[{place + 1}]" for place in rows_that_are_new(old.get(name), value)]
        elif value:
            keys.append(name)
    return keys


class Overlap(Exception):
    """Two editors changed the same sections; their names."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def merged(base: Tables, theirs: Tables, mine: Tables) -> Tables:
    """Put what I changed in `base` into what they made of it. Raises `Overlap` for sections that both changed."""
    changed = sections(base, mine)
    others = set(sections(base, theirs))
    both = [name for name in changed if name in others and mine.get(name) != theirs.get(name)]
    if both:
        raise Overlap(both)
    result = dict(theirs)
    for name in changed:
        if name in mine:
            result[name] = mine[name]
        else:
            result.pop(name, None)
    return result


def blamed(problems: Iterable[Problem], keys: Iterable[str]) -> tuple[list[Problem], list[Problem]]:
    """Part faults into those under one of the keys, or of a section as a whole that holds one, and the others."""
    known = set(keys)
    whole = {key.partition("[")[0] for key in known}
    own: list[Problem] = []
    others: list[Problem] = []
    for problem in problems:
        first = problem.key.partition(".")[0]
        (own if first in known or problem.key in whole else others).append(problem)
    return own, others
