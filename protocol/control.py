"""The control messages between daemons of one machine: one JSON object a line.

Request `{"v": 1, "do": VERB, "args": {…}}`; with `"quiet": true` there is no answer. Answer `{"v": 1, "ok": …}` or
`{"v": 1, "error": {"status": sysexits, "text": one line}}`. `docs/control.md` lists the verbs of each daemon. An
argument of a name is of the same kind with every verb; `fault_of` checks that, so that no verb has to. Raises nothing.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

VERSION = 1
LINE_LIMIT = 16 * 1024 * 1024
"""Longest line in octets, either way."""
_MID_DIGITS = 18


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_id(value: Any) -> bool:
    return (isinstance(value, str) and len(value) <= 200) or _is_whole(value)


def _is_mid(value: Any) -> bool:
    text = str(value) if _is_whole(value) else value
    return isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= _MID_DIGITS


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**_MID_DIGITS


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list_of(kind: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(kind, value))


_KINDS: tuple[tuple[str, Callable[[Any], bool], tuple[str, ...]], ...] = (
    ("a text", _is_text, ("host", "domain", "sender", "filter", "after", "sort", "to", "action", "who", "reason")),
    ("a text", _is_text, ("topic", "mode", "day", "serial", "quarantine", "recipient", "subject")),
    ("an id", _is_id, ("id",)),
    ("a MID, a number", _is_mid, ("mid",)),
    ("a number from 0 on", _is_whole, ("limit", "offset")),
    ("a number of seconds from 0 on", _is_seconds, ("delay_s", "wait_s")),
    ("true or false", _is_flag, ("dry_run", "all", "write", "content")),
    ("a list of texts", _list_of(_is_text), ("hosts", "listeners")),
    ("a list of ids", _list_of(_is_id), ("ids",)),
    ("a list of MIDs, numbers", _list_of(_is_mid), ("mids",)),
)
_BY_NAME = {name: (what, fits) for what, fits, names in _KINDS for name in names}


def fault_of(args: Mapping[str, Any]) -> str:
    """Say in a line what argument is not of its kind, '' if all are. None stands for one that is left out."""
    for name, value in args.items():
        what, fits = _BY_NAME.get(name, ("", None))
        if fits is not None and value is not None and not fits(value):
            return f"{name} is {repr(value)[:60]}: give {what}"
    return ""
