"""Parameters of the batch forms: the places of a command's name, the keys that stand without an option, and the rest.

Made from the keys of the schema, so that help and completion know kinds, choices and bounds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from core.errors import EX_DATAERR, GatepostError
from core.schema import Key, Row, put
from ops.cli.argument import Help, Parameter
from ops.cli.editing.row import value_of
from ops.cli.registry import is_place

_YES_NO = ("yes", "no")
ROW = "row"
RESET = "reset"


def place_parameters(command: str) -> list[Parameter]:
    """Give the parameters that the places of a command's name become."""
    return [
        Parameter(_placed(word), "positional", str, Help("name of an entry", word), required=True)
        for word in command.split()
        if is_place(word)
    ]


def take_places(command: str, given: dict[str, Any]) -> tuple[str, ...]:
    """Take what stood in the places out of the arguments."""
    return tuple(str(given.pop(_placed(word))) for word in command.split() if is_place(word))


def given_places(command: str, places: Sequence[str]) -> dict[str, str]:
    """Give the arguments for the places of a command."""
    names = [_placed(word) for word in command.split() if is_place(word)]
    return dict(zip(names, places, strict=False))


def _placed(word: str) -> str:
    return f"in_{word.lower()}"


def filled(command: str, places: Sequence[str]) -> str:
    """Give a command's name with words in its places."""
    waiting = list(places)
    return " ".join(waiting.pop(0) if is_place(word) and waiting else word for word in command.split())


def key_parameters(keys: Sequence[Key], places: Sequence[str], *, required: bool) -> list[Parameter]:
    """Give the parameters of a row: those in `places` without an option, in that order, the others with one."""
    by_name = {key.name: key for key in keys}
    standing = [_standing(by_name[name], last=name == places[-1], required=required) for name in places]
    return standing + [option(key) for key in keys if key.name not in places]


def _standing(key: Key, *, last: bool, required: bool) -> Parameter:
    rest = last and key.kind == "list"
    described = Help(meaning(key, required=required), key.name.replace(".", "-").upper())
    return Parameter(
        key.name, "rest" if rest else "positional", str, described, _choices(key), required and key.required
    )


def option(key: Key) -> Parameter:
    """Give the option of a key; a secret has none, and is asked for."""
    described = Help(meaning(key), metavar(key), secret=key.secret)
    return Parameter(key.name, "secret" if key.secret else "option", str, described, _choices(key))


def _choices(key: Key) -> tuple[str, ...]:
    return _YES_NO if key.kind == "yes-no" else key.choices


def metavar(key: Key) -> str:
    """Say how usage shows a value of a key."""
    kinds = {"whole": "N", "number": "N", "size": "SIZE", "list": "A,B…"}
    return kinds.get(key.kind, "TEXT")


def meaning(key: Key, *, required: bool = True) -> str:
    """Say what a key means, within which bounds, and what counts without it."""
    parts = [key.description or key.name]
    if key.kind in {"whole", "number"} and (key.least is not None or key.most is not None):
        upper = "up" if key.most is None else f"to {key.most:g}" if key.most < 1e6 else f"to {key.most:.0f}"
        parts.append(f"{key.least or 0:g} {upper}")
    shown = key.show(key.default)
    if shown and required:
        parts.append(f"default {shown}")
    return "; ".join(parts)


def row_from(keys: Sequence[Key], row: Row, given: Mapping[str, Any]) -> Row:
    """Put the words of a command line into a row. Raises status 65."""
    for key in keys:
        words = given.get(key.name)
        if words is not None and not (words == "" and key.secret):
            put(row, key.name, value_of(key, words))
    return row


def reset(keys: Sequence[Key], row: Row, names: str | None) -> None:
    """Take the keys named out of a row, so that their defaults count again. Raises status 65 for one there is not."""
    known = {key.name.lower().replace("_", "-"): key for key in keys}
    for word in (names or "").split(","):
        if not word.strip():
            continue
        key = known.get(word.strip().lower().replace("_", "-"))
        if key is None:
            raise GatepostError(f"there is no key {word.strip()}; there are: {', '.join(known)}", EX_DATAERR)
        put(row, key.name, None)
