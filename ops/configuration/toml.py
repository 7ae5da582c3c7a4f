"""Writing a configuration document as TOML.

Tables in the order of the document; scalars before sub-tables, as the format demands. Reading is `core/toml.py`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml(document: Mapping[str, Any]) -> str:
    """Give the document as TOML text; values that are None are left out."""
    lines: list[str] = []
    _table(document, (), lines)
    return "\n".join(lines).strip() + "\n"


def pair(key: str, value: Any) -> str:
    """Write one key with a value that is no table."""
    return f"{_key(key)} = {_value(value)}"


def _table(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    for key, value in table.items():
        if value is not None and not _is_table(value) and not _is_tables(value):
            lines.append(pair(key, value))
    for key, value in table.items():
        below = (*path, key)
        if _is_table(value):
            lines += ["", f"[{'.'.join(_key(part) for part in below)}]"]
            _table(value, below, lines)
        elif _is_tables(value):
            for item in value:
                lines += ["", f"[[{'.'.join(_key(part) for part in below)}]]"]
                _table(item, below, lines)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def inline(value: Any) -> str:
    """Write a value on one line, tables within it too."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(key)} = {inline(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    return _value(value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return _string(str(value))


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
