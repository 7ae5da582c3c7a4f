"""The words for a value that a model refuses, as an operator reads them; core/config and core/schema call them.

Knows the kinds of errors of the model library by their names only, and raises nothing.
"""

import re
from collections.abc import Mapping
from typing import Any

_NAMED = {
    "extra_forbidden": "unknown key; remove it, or see the commented example for the right name",
    "missing": "this key is required",
    "tuple_type": "a list is needed, in brackets",
    "list_type": "a list is needed, in brackets",
}
_PLAIN = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
}
_FORMS = {
    r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$": "must be of letters, digits, '_', '-' and '.', 64 at most, none of the last "
    "two first",
    r"^[!-?A-~]+@[!-?A-~]+$": "must be an address of the form user@domain",
    r"^[^\s@]{0,255}$": "must be without blanks and '@'",
    r"^\S*$": "must be without blanks",
    r"^[^\s@/]*$": "must be without blanks, '@' and '/'",
    r"^[^\x00-\x1f]*$": "must be without control characters",
    r"^[^\x00-\x1f\x7f]*$": "must be without control characters",
    r"^[a-z_][a-z0-9._-]{0,31}$": "must be of small letters, digits and '_-.', 32 at most, a letter or '_' first",
    r"^[0-9]$": "must be one digit",
    r"^[!-9;-~]{1,80}$": "must be the name of a header field",
}
_FORMS[r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$"] = _FORMS[r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"]
_CHOICE = re.compile(r"\^\(?([a-z0-9|-]+)\)?\$")
_PATTERN = re.compile(r"String should match pattern '(.+)'", re.DOTALL)
_SHOWN = 80
"""Characters of a wrong value that an error shows."""


def worded(item: Mapping[str, Any], *, secret: bool) -> str:
    """Say why a value is refused, and what it is unless it is secret; `item` is an error of the model library."""
    kind = str(item["type"])
    if kind in _NAMED:
        return _NAMED[kind]
    value = item["input"]
    if kind in {"string_pattern_mismatch", "string_too_short"} and value == "":
        return "must not be empty"
    reason = _reason(kind, item)
    if secret or isinstance(value, dict | list):
        return reason
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return reason if shown in reason else f"{reason} (found {shown})"


def _reason(kind: str, item: Mapping[str, Any]) -> str:
    if found := _PATTERN.fullmatch(str(item["msg"])):
        pattern = found[1]
        if choice := _CHOICE.fullmatch(pattern):
            return f"must be one of {', '.join(choice[1].split('|'))}"
        return _FORMS.get(pattern, f"must be of the form {pattern}")
    said = str(item["msg"]).removeprefix("Value error, ")
    for before in ("Input should be ", "String should have ", "Tuple should have ", "List should have "):
        if said.startswith(before):
            said = ("must be " if before.startswith("Input") else "must have ") + said.removeprefix(before)
    return _PLAIN.get(kind, said.replace(" after validation", ""))
