"""Random configurations that every check of the models takes, made from the models' own description of themselves."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from core.config.document import check_document
from core.errors import ConfigError
from core.schema import Key, Refused
from core.schema.config import top_keys
from daemons.config import DOCUMENTS

Draw = Callable[[st.SearchStrategy[Any]], Any]
_WORDS = (
    "mx1",
    "gw",
    "in.example",
    "2001:db8::1",
    "b@in.example",
    "127.0.0.1:25",
    "default",
    "a.example",
    "mx",
    "127.0.0.1",
    "::1",
    "192.0.2.1:53",
    "user@a.example",
    "@a.example",
    "16M",
    ".example",
    "ALL",
    "DEFAULT",
    "mx.in.example:2525/pri=5",
    "/dev/null",
    "192.0.2.0/24",
    "user@",
    "two words",
    "86400",
    "logs.example",
)
_KNOWN: dict[Key, st.SearchStrategy[Any]] = {}
_TEXT = st.sampled_from(_WORDS) | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


def _takes(key: Key, value: Any) -> bool:
    try:
        key.check(value)
    except (Refused, ValueError):
        return False
    return True


def _value(draw: Draw, key: Key) -> Any:
    """Draw a value for a key; None where none was found."""
    if key.shape is not None:
        count = 1 if key.kind == "section" else draw(st.integers(0, 3))
        rows = [_table(draw, key.shape.keys) for _ in range(count)]
        return rows[0] if key.kind == "section" else [row for row in rows if not key.check_row(row)]
    if key.kind == "list":
        item = key.item or Key("item")
        return [one for one in (_value(draw, item) for _ in range(draw(st.integers(0, 3)))) if one is not None]
    return draw(_fitting(key) | _strategy(key) if key.kind == "text" else _strategy(key))


def _fitting(key: Key) -> st.SearchStrategy[Any]:
    """Draw one of the words that a key takes."""
    if key not in _KNOWN:
        _KNOWN[key] = st.sampled_from([word for word in _WORDS if _takes(key, word)] or _WORDS)
    return _KNOWN[key]


def _strategy(key: Key) -> st.SearchStrategy[Any]:
    if key.choices:
        return st.sampled_from(key.choices)
    if key.kind == "yes-no":
        return st.booleans()
    least, most = key.least or 0, key.most if key.most is not None else 100_000
    if key.kind in {"whole", "size"}:
        return st.integers(int(least), int(most))
    if key.kind == "number":
        return st.floats(least, most, allow_nan=False) | st.integers(int(least) + 1, max(int(most), int(least) + 1))
    return _TEXT


def _table(draw: Draw, keys: tuple[Key, ...]) -> dict[str, Any]:
    table = {}
    for key in keys:
        if key.required or draw(st.integers(0, 2)) == 0:
            value = _value(draw, key)
            if value is not None and _takes(key, value):
                table[key.name] = value
    return table


@st.composite
def valid_documents(draw: Draw, role: str) -> dict[str, Any]:
    """Draw a document of a role; what does not fit with the rest of it is left out again."""
    model = DOCUMENTS[role]
    identity = {"role": role, "serial": "42AB-CD", "hostname": draw(st.sampled_from(["mx.example", "esa"]))}
    tables: dict[str, Any] = {"appliance": identity}
    for name, key in top_keys(model).items():
        if name != "appliance" and (key.required or draw(st.booleans())):
            tables[name] = _value(draw, key)
    rounds = 0
    while faults := _faults(role, tables):
        rounds += 1
        for name, row in sorted(faults, reverse=True):
            if row and rounds < 4 and isinstance(tables.get(name), list) and len(tables[name]) >= row:
                del tables[name][row - 1]
            else:
                tables.pop(name, None)
    return tables


def _faults(role: str, tables: dict[str, Any]) -> set[tuple[str, int]]:
    """Name the sections, or their rows from 1, in which anything is wrong; 0 is the section as a whole."""
    try:
        check_document(tables, DOCUMENTS[role], "random")
    except ConfigError as error:
        found = {_place(problem.key) for problem in error.problems}
        return {one for one in found if one[0] in tables} or {(name, 0) for name in list(tables)[1:2]}
    return set()


def _place(key: str) -> tuple[str, int]:
    first = key.partition(".")[0]
    name, _, row = first.removesuffix("]").partition("[")
    return name, int(row or 0)
