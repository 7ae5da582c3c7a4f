"""A plain description of the configuration: which keys there are, of what kind, with which bounds and meaning.

`core/schema/config.py` makes it from the models (`describe`), the composition roots hand it to `ops/`, whose table
commands and dialogues are derived from it. Nothing here knows the models' library, files or terminals. What is
checked, is checked by the models themselves through `check`; `Refused` carries their reasons.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["text", "whole", "size", "number", "yes-no", "choice", "list", "section", "table"]
Row = dict[str, Any]
Schema = Mapping[str, "Key"]
"""The top-level keys of a document."""
_YES, _NO = {"yes", "y", "true", "on", "1"}, {"no", "n", "false", "off", "0"}


class Refused(ValueError):
    """A value that the model does not take, with the reason."""


@dataclass(frozen=True)
class Fault:
    """What is wrong in a row: the key as a dotted name ('' = the row as a whole) and why."""

    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}" if self.key else self.reason


def _takes(value: Any) -> Any:
    return value


def _no_faults(_row: Any) -> list[Fault]:
    return []


@dataclass(frozen=True)
class Key:
    """One key of a section. `name` is dotted where it lies in a section within the row."""

    name: str
    kind: Kind = "text"
    description: str = ""
    default: Any = None
    """As plain TOML types; None where there is none: `required` tells the two cases apart."""
    required: bool = False
    optional: bool = False
    """May be without a value, which means something of its own: inherited, or decided elsewhere."""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    """Bounds of a number; of a table or list, the most items."""
    secret: bool = False
    item: "Key | None" = None
    """Of a list: what its items are."""
    shape: "Shape | None" = None
    """Of a section: its keys; of a table: those of a row."""
    check: Callable[[Any], Any] = field(default=_takes, compare=False, repr=False)
    """Looks at a value as TOML has it. Raises `Refused`."""
    check_row: Callable[[Any], list[Fault]] = field(default=_no_faults, compare=False, repr=False)
    """Of a table: looks at one row as a whole."""

    def read(self, text: str) -> Any:
        """Give the value that a word or a line of an answer means, as TOML has it. Raises `Refused`."""
        value = self._plain(text.strip())
        self.check(value)
        return value

    def _plain(self, text: str) -> Any:
        if self.kind == "list":
            return [self.item.read(part) if self.item else part for part in parts_of(text)]
        if self.kind == "yes-no":
            return _truth(text)
        if self.kind == "choice":
            return next((choice for choice in self.choices if choice.lower() == text.lower()), text)
        if self.kind in {"whole", "size"}:
            digits = text.replace(",", "")
            return int(digits) if digits.isdecimal() and digits.isascii() and len(digits) < 19 else text
        if self.kind == "number":
            return _number(text)
        return text

    def show(self, value: Any) -> str:
        """Give a value as a line shows it and `read` takes it."""
        if value is None:
            return ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, list | tuple):
            words = [str(item) for item in value]
            return ", ".join(words) if all(map(_stands_alone, words)) else json.dumps(words)
        if isinstance(value, float) and value.is_integer():
            return f"{value:.0f}"
        return str(value)


def _truth(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise Refused(f"answer yes or no (found {text[:40]!r})")
    return text.lower() in _YES


def _number(text: str) -> Any:
    digits = text.replace(",", "")
    if digits.isdecimal() and digits.isascii() and len(digits) < 19:
        return int(digits)
    try:
        return float(digits)
    except ValueError:
        return text


def _stands_alone(word: str) -> bool:
    return bool(word) and word == word.strip() and "," not in word and word[0] != "[" and word.isprintable()


def parts_of(text: str) -> list[str]:
    """Split several values on one line: by commas, or as a JSON list where a value has commas in it."""
    if text.startswith('["'):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
    return [part.strip() for part in text.split(",") if part.strip()]


@dataclass(frozen=True)
class Shape:
    """The keys of a section, or of the rows of a table."""

    description: str
    keys: tuple[Key, ...]

    def key(self, name: str) -> Key:
        """Give the key of that name. Raises `KeyError`."""
        return next((key for key in self.keys if key.name == name), None) or _missing(name)

    def flat(self) -> Iterator[Key]:
        """Give the keys that have a value, those in sections within the row by dotted names; tables are left out."""
        for key in self.keys:
            if key.kind == "section" and key.shape is not None:
                for inner in key.shape.flat():
                    said = get(key.default or {}, inner.name)
                    default = inner.default if said is None else said
                    yield replace(inner, name=f"{key.name}.{inner.name}", default=default)
            elif key.kind != "table":
                yield key


def _missing(name: str) -> Key:
    raise KeyError(name)


def get(row: Mapping[str, Any], dotted: str) -> Any:
    """Give what stands under a dotted name, None for nothing."""
    value: Any = row
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def put(row: Row, dotted: str, value: Any) -> None:
    """Write a value under a dotted name; None takes the key out, and a section that is empty then."""
    *above, last = dotted.split(".")
    passed: list[tuple[Row, str]] = []
    for part in above:
        passed.append((row, part))
        row = row.setdefault(part, {})
    if value is None:
        row.pop(last, None)
    else:
        row[last] = value
    for outer, part in reversed(passed):
        if not outer[part]:
            del outer[part]


def complete(shape: Shape, row: Mapping[str, Any], names: Sequence[str] = ()) -> Row:
    """Give a row with the defaults of what it leaves out; only the keys named, if any are."""
    full: Row = {}
    for key in shape.flat():
        if names and key.name not in names:
            continue
        value = get(row, key.name)
        value = key.default if value is None else value
        if value is not None:
            put(full, key.name, value)
    return full
