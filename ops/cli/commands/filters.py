"""`filters`: the message filters of the configuration, one by one, in the language of docs/filters.md.

They stand in `[filters]` as one text; here it is cut at its filters, with the comments above each. Filters that a file
holds (`filters.file`) run before these and are edited there. The roots hand in what can read the language
(`Appliance.filters`). The dialogue is in filters_menu.py. Raises `GatepostError` 65 with every fault of a text; nothing
is changed then.
"""

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from core.errors import EX_CONFIG, EX_DATAERR, EX_NOINPUT, GatepostError
from ops.cli.account import STAFF
from ops.cli.appliance import FilterPlace, FilterTexts
from ops.cli.argument import Help
from ops.cli.editing.changing import PENDING, with_warnings
from ops.cli.editing.file import STREAM, put_out, read_text, text_or
from ops.cli.registry import Call, Command, Document, command
from ops.cli.table import Column, table

ESA = frozenset({"esa"})
_RANGE = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
LAST = "last"
WHICH = "number, range (2-4), name or all; several by commas"


def _reader(call: Call) -> FilterTexts:
    if call.appliance.filters is None:
        raise GatepostError("filters: this machine takes no mail", EX_CONFIG)
    return call.appliance.filters


def _text_of(tables: dict[str, Any]) -> str:
    return str((tables.get("filters") or {}).get("text") or "")


def _pieces(text: str, places: Sequence[FilterPlace]) -> list[str]:
    """Give the source of each filter, with what stands above it."""
    return [text[one.start : one.end] for one in places]


def _joined(pieces: Sequence[str], rest: str) -> str:
    """Put pieces together, each on lines of its own."""
    text = ""
    for piece in (*pieces, rest):
        text += f"\n{piece}" if text and piece and not text.endswith("\n") else piece
    return text.lstrip("\n")


def _chosen(which: str, places: Sequence[FilterPlace]) -> list[int]:
    """Give the places that words name, from 0, in their order. Raises status 66."""
    chosen: dict[int, None] = {}
    names = {one.name.lower(): number for number, one in enumerate(places)}
    for word in which.replace(" ", "").split(","):
        found = _RANGE.fullmatch(word)
        if word.lower() == "all":
            chosen |= dict.fromkeys(range(len(places)))
        elif word.lower() in names:
            chosen[names[word.lower()]] = None
        elif found is not None and 1 <= int(found[1]) <= int(found[2] or found[1]) <= len(places):
            chosen |= dict.fromkeys(range(int(found[1]) - 1, int(found[2] or found[1])))
        else:
            there = f"there are {len(places)}" if places else "there are none"
            raise GatepostError(f"there is no filter {word!r}; {there}", EX_NOINPUT)
    return sorted(chosen)


def _before(where: str, places: Sequence[FilterPlace]) -> int:
    if where.lower() == LAST or (where.isdecimal() and int(where[:9]) == len(places) + 1):
        return len(places)
    return _chosen(where, places)[0]


async def _change(call: Call, what: str, work: Callable[[list[str], Sequence[FilterPlace]], list[str]]) -> list[str]:
    """Change the text of the filters; `work` takes the pieces and their places and gives the new pieces."""
    reader = _reader(call)

    def edit(tables: dict[str, Any]) -> None:
        text = _text_of(tables)
        places = reader.outline(text)
        new = _joined(work(_pieces(text, places), places), text[places[-1].end :] if places else text)
        if faults := reader.faults(new, tables):
            raise GatepostError("\n".join(reason for _, reason in faults), EX_DATAERR)
        section = tables.setdefault("filters", {})
        section["text"] = new
        if not new:
            del section["text"]

    return await call.editing.change(what, edit)


def listing(call: Call) -> Document:
    """Give the filters by number, whether they are active and valid, and the file that has further ones."""
    reader, tables = _reader(call), call.editing.tables()
    text = _text_of(tables)
    faults = reader.faults(text, tables)
    rows = []
    for number, one in enumerate(reader.outline(text), 1):
        lines = (text.count("\n", 0, one.start) + 1, text.count("\n", 0, one.end) + 1)
        mine = [reason for line, reason in faults if lines[0] <= line <= lines[1]]
        rows.append({"num": number, "active": one.active, "valid": not mine, "name": one.name})
    return {"filters": rows, "file": str((tables.get("filters") or {}).get("file") or "")}


def render_list(document: Document, width: int) -> str:
    """Show the table of filters."""
    rows = [
        [str(one["num"]), "Y" if one["active"] else "N", "Y" if one["valid"] else "N", one["name"]]
        for one in document["filters"]
    ]
    heads = [Column("Num"), Column("Active"), Column("Valid"), Column("Name", least=8)]
    text = table(heads, rows, width) if rows else "There are no filters."
    return f"{text}\nFilters of the file {document['file']} run before these." if document["file"] else text


@command("filters list", "List the message filters.", render=render_list, machines=ESA)
async def filters_list(call: Call) -> Document:
    """A filter is active, or only kept; valid, or refused as it is."""
    return listing(call)


def _render_text(document: Document, width: int) -> str:
    return str(document["text"])


@command(
    "filters detail",
    "Show message filters as they are written.",
    render=_render_text,
    machines=ESA,
    multiline={"text"},
)
async def filters_detail(call: Call, which: Annotated[str, Help(WHICH, "FILTER")] = "all") -> Document:
    """The text is what `filters new` takes."""
    text = _text_of(call.editing.tables())
    places = _reader(call).outline(text)
    pieces = _pieces(text, places)
    chosen = _chosen(which, places) if places or which != "all" else []
    return {
        "text": "\n".join(pieces[number].strip("\n") + "\n" for number in chosen),
        "names": [places[number].name for number in chosen],
    }


def _said(document: Document, width: int) -> str:
    names = ", ".join(document["names"][:10])
    return with_warnings(f"{document['done']}: {names or 'nothing'}; {PENDING}.", document, width)


@command("filters new", "Add message filters.", render=_said, roles=STAFF, machines=ESA)
async def filters_new(
    call: Call,
    before: Annotated[str, Help("number or name of the filter that they go before, or last", "FILTER")] = LAST,
    *,
    text: Annotated[str | None, Help("the filters; else standard input is read", "TEXT")] = None,
) -> Document:
    """Names are unique, and no words of the language; what filters name, such as interfaces, must be there."""
    given = text if text is not None else _typed(await read_text(call, STREAM))
    names = [one.name for one in _reader(call).outline(given)]
    if not names:
        raise GatepostError("there is no filter in this text: NAME: if RULE { ACTION; }", EX_DATAERR)

    def work(pieces: list[str], places: Sequence[FilterPlace]) -> list[str]:
        at = _before(before, places)
        return [*pieces[:at], given.strip("\n") + "\n", *pieces[at:]]

    warnings = await _change(call, f"filters new {' '.join(names)}", work)
    return {"done": "Added", "names": names, "warnings": warnings}


def _typed(text: str) -> str:
    """Take off the full stop that ends filters where they are typed; who pipes them may end them alike."""
    lines = text.rstrip("\n").split("\n")
    return "\n".join(lines[:-1] if lines[-1].strip() == "." else lines)


Arrange = Callable[[list[str], Sequence[int], Sequence[FilterPlace]], list[str]]
"""Gives the pieces anew, from the pieces, the numbers of those that were chosen, and the filters in them."""


async def _rearranged(call: Call, what: str, which: str, done: str, arrange: Arrange) -> Document:
    names: list[str] = []

    def work(pieces: list[str], places: Sequence[FilterPlace]) -> list[str]:
        chosen = _chosen(which, places)
        names[:] = [places[number].name for number in chosen]
        return arrange(pieces, chosen, places)

    warnings = await _change(call, what, work)
    return {"done": done, "names": names, "warnings": warnings}


@command("filters delete", "Delete message filters.", render=_said, roles=STAFF, machines=ESA)
async def filters_delete(call: Call, which: Annotated[str, Help(WHICH, "FILTER")]) -> Document:
    """The comments above a filter go with it."""

    def arrange(pieces: list[str], gone: Sequence[int], _places: Sequence[FilterPlace]) -> list[str]:
        return [piece for number, piece in enumerate(pieces) if number not in gone]

    return await _rearranged(call, f"filters delete {which}", which, "Deleted", arrange)


@command("filters move", "Move message filters to another place.", render=_said, roles=STAFF, machines=ESA)
async def filters_move(
    call: Call,
    which: Annotated[str, Help(WHICH, "FILTER")],
    before: Annotated[str, Help("number or name of the filter that they go before, or last", "FILTER")],
) -> Document:
    """Filters run in their order."""

    def arrange(pieces: list[str], moved: Sequence[int], places: Sequence[FilterPlace]) -> list[str]:
        at = _before(before, places)
        upper = [pieces[number] for number in range(at) if number not in moved]
        lower = [pieces[number] for number in range(at, len(pieces)) if number not in moved]
        return [*upper, *(pieces[number] for number in moved), *lower]

    return await _rearranged(call, f"filters move {which} {before}", which, "Moved", arrange)


@command("filters set", "Make message filters active or inactive.", render=_said, roles=STAFF, machines=ESA)
async def filters_set(
    call: Call,
    which: Annotated[str, Help(WHICH, "FILTER")],
    state: Annotated[Literal["active", "inactive"], Help("whether they run")],
) -> Document:
    """An inactive filter is kept and does not run: `NAME! if …`."""

    def arrange(pieces: list[str], changed: Sequence[int], _places: Sequence[FilterPlace]) -> list[str]:
        return [_marked(piece) if number in changed else piece for number, piece in enumerate(pieces)]

    def _marked(piece: str) -> str:
        mark = _reader(call).outline(piece)[0].mark
        return f"{piece[:mark]}{':' if state == 'active' else '!'}{piece[mark + 1 :]}"

    return await _rearranged(call, f"filters set {which} {state}", which, f"Made {state}", arrange)


@command("filters import", "Read the message filters from a file.", render=_said, roles=STAFF, machines=ESA)
async def filters_import(
    call: Call, file: Annotated[str, Help("name of a file in configuration/, or - for standard input", "FILE")]
) -> Document:
    """They take the place of those that are there. Every fault is told with its line."""
    text = await read_text(call, file)
    reader = _reader(call)
    names = [one.name for one in reader.outline(text)]

    def edit(tables: dict[str, Any]) -> None:
        if faults := reader.faults(text, tables):
            raise GatepostError("\n".join(reason for _, reason in faults), EX_DATAERR)
        tables.setdefault("filters", {})["text"] = text

    warnings = await call.editing.change(f"filters import {file}", edit)
    return {"done": "Read", "names": names, "warnings": warnings}


@command(
    "filters export",
    "Write the message filters to a file.",
    render=text_or(lambda document: f"The filters were written to {document['file']}."),
    roles=STAFF,
    machines=ESA,
    multiline={"text"},
)
async def filters_export(
    call: Call, file: Annotated[str, Help("name of a file in configuration/, or - for standard output", "FILE")]
) -> Document:
    """A file of that name is replaced."""
    return await put_out(call, file, _text_of(call.editing.tables()))


COMMANDS: tuple[Command, ...] = (
    filters_list,
    filters_detail,
    filters_new,
    filters_delete,
    filters_move,
    filters_set,
    filters_import,
    filters_export,
)
