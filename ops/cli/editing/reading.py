"""The commands of a table that change nothing: `list`, `detail`, `print`, `export`.

They show the caller's pending copy. Secrets are masked but in an export, which only who may change the table makes.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

from core.errors import EX_NOINPUT, GatepostError
from core.schema import Key, Row, get, put
from ops.cli.argument import Help, Parameter, parameters_of
from ops.cli.display import clean, folded, pad
from ops.cli.editing.file import put_out, text_or
from ops.cli.editing.row import Described
from ops.cli.editing.table import Table
from ops.cli.editing.words import ROW, place_parameters, take_places
from ops.cli.registry import Call, Command, Document
from ops.cli.table import Column, table

SHOWN = 100
"""Rows that a terminal gets unless it asks for more."""
_MASK = "*****"


async def _list_form(
    call: Call,
    *,
    match: Annotated[str | None, Help("only those with this text in a column, in any case", "TEXT")] = None,
    limit: Annotated[int | None, Help("at most so many", "N", least=1)] = None,
) -> None:
    """Give the options of `list`."""


def row_parameter(one: str, *, several: bool = False, required: bool = True) -> Parameter:
    """Give the parameter that names a row."""
    return Parameter(
        ROW,
        "rest" if several else "positional",
        str,
        Help(f"name of the {one}", one.upper().replace(" ", "-")),
        (),
        required,
    )


def find(described: Described, rows: Sequence[Row], name: str) -> int:
    """Give the place of a row. Raises status 66."""
    place = described.place(rows, name)
    if place is None:
        one, command = described.table.one, described.table.command
        raise GatepostError(f"there is no {one} {name}; `{command} list` shows what there is", EX_NOINPUT)
    return place


def with_fixed(described: Described, rows: Sequence[Row]) -> list[Row]:
    """Give the rows and those that are always there."""
    missing = [fixed for fixed in described.table.fixed if described.place(rows, fixed) is None]
    table = described.table
    return [*({table.key: name, **table.given.get(name, {})} for name in missing), *rows]


def masked(keys: Sequence[Key], row: Row) -> Row:
    """Give a row without its secrets."""
    for key in keys:
        if key.secret and get(row, key.name):
            put(row, key.name, _MASK)
    return row


def listed(described: Described) -> Command:
    """Make `list`."""
    shown, keys = [name for name, _ in described.table.columns], described.keys

    async def run(call: Call, **given: Any) -> Document:
        places = take_places(described.table.command, given)
        rows = with_fixed(described, described.load(call.editing.tables(), places))
        wanted = (given.get("match") or "").lower()
        found = [row for row in rows if not wanted or wanted in _line(described, rows, row, shown).lower()]
        limit = given.get("limit") or (SHOWN if call.width and call.watched else len(found))
        document: Document = {
            described.noun: [_plain(described, masked(keys, row)) for row in found[:limit]],
            "total": len(found),
        }
        if described.table.fallback:
            place = described.place(rows, described.table.fallback)
            document["fallback"] = rows[place] if place is not None else {}
        return document

    def render(document: Document, width: int) -> str:
        return _rendered(described, document, width)

    parameters = (*place_parameters(described.table.command), *parameters_of(_list_form))
    text = "Rows are given as they are written down; `detail` adds what counts where a row says nothing."
    return _reading(
        described,
        "list",
        f"List the {described.table.many}.",
        run=run,
        parameters=parameters,
        render=render,
        details=text,
    )


def _plain(described: Described, row: Row) -> Any:
    return row[described.table.key] if described.plain else row


def _line(described: Described, rows: Sequence[Row], row: Row, names: Sequence[str]) -> str:
    return " ".join(_cells(described, row, {}, names))


def _cells(described: Described, row: Row, fallback: Row, names: Sequence[str]) -> list[str]:
    cells = []
    for name in names:
        key = described.key(name)
        value = get(row, name)
        value = get(fallback, name) if value is None else value
        cells.append(key.show(key.default if value is None else value) or "-")
    return cells


def _rendered(described: Described, document: Document, width: int) -> str:
    rows, total, one = document[described.noun], document["total"], described.table
    if not total:
        return f"There are no {one.many}."
    names = [name for name, _ in one.columns]
    cells = [
        _cells(described, {one.key: row} if described.plain else row, document.get("fallback", {}), names)
        for row in rows
    ]
    heads = [Column(title, least=8) for _, title in one.columns]
    text = table(heads, cells, width)
    if len(rows) < total:
        text += (
            f"\n… {total - len(rows):,} more of {total:,}: --match TEXT or --limit N shows them, `export` writes all"
        )
    return text


def numbered(described: Described, rows: Sequence[Row], most: int, width: int) -> str:
    """Give the first `most` rows as `list` shows them, with the numbers by which a dialogue takes them."""
    one = described.table
    names = [name for name, _ in one.columns]
    place = described.place(rows, one.fallback) if one.fallback else None
    fallback = rows[place] if place is not None else {}
    shown = [masked(described.keys, deepcopy(row)) for row in rows[:most]]
    cells = [[f"{number}.", *_cells(described, row, fallback, names)] for number, row in enumerate(shown, 1)]
    heads = [Column("No."), *(Column(title, least=8) for _, title in one.columns)]
    return clean(table(heads, cells, width), lines=True)


def detailed(described: Described) -> Command:
    """Make `detail`."""

    async def run(call: Call, **given: Any) -> Document:
        places = take_places(described.table.command, given)
        rows = with_fixed(described, described.load(call.editing.tables(), places))
        row = rows[find(described, rows, given[ROW])]
        written = [key.name for key in described.keys if get(row, key.name) is not None]
        full = masked(described.keys, described.effective(row, rows))
        return {described.noun: full, "written": written}

    def render(document: Document, width: int) -> str:
        return shown_values(described.keys, document[described.noun], document["written"], width)

    parameters = (*place_parameters(described.table.command), row_parameter(described.table.one))
    text = "Every key with the value that counts; `written` names those that the row itself has."
    return _reading(
        described,
        "detail",
        f"Show all of one {described.table.one}.",
        run=run,
        parameters=parameters,
        render=render,
        details=text,
    )


def shown_values(keys: Sequence[Key], row: Row, written: Sequence[str], width: int) -> str:
    """Show keys and values in two columns; what is not written down is marked."""
    room = max((len(key.name) for key in keys), default=0) + 2
    lines = []
    for key in keys:
        value = key.show(get(row, key.name)) or "-"
        mark = "" if key.name in written else "  (default)"
        lines.append(folded(pad(key.name, room), value + mark, width))
    return "\n".join(lines)


def printed(described: Described) -> Command:
    """Make `print`."""

    async def run(call: Call, **given: Any) -> Document:
        places = take_places(described.table.command, given)
        rows = described.load(call.editing.tables(), places)
        shown = rows[:SHOWN] if call.width and call.watched else rows
        text = described.table.format.format([masked(described.keys, row) for row in shown])
        if len(shown) < len(rows):
            text += f"# … {len(rows) - len(shown):,} more of {len(rows):,}; `export` writes all\n"
        return {"text": text, "rows": len(rows)}

    text = "The text is what `export` writes and `import` reads."
    summary = f"Print the {described.table.many} in the form of their file."
    parameters = tuple(place_parameters(described.table.command))
    return _reading(described, "print", summary, run=run, parameters=parameters, render=render_text, details=text)


def render_text(document: Document, width: int) -> str:
    """Show a text as it is."""
    return str(document["text"])


def exported(described: Described) -> Command:
    """Make `export`."""

    async def run(call: Call, **given: Any) -> Document:
        places = take_places(described.table.command, given)
        rows = described.load(call.editing.tables(), places)
        return await put_out(call, given["file"], described.table.format.format(rows), rows=len(rows))

    def said(document: Document) -> str:
        name = Path(document["file"])
        return f"{counted(described.table, document['rows'])} written to {name.parent.name}/{name.name}."

    one = described.table
    return Command(
        f"{one.command} export",
        f"Write the {one.many} to a file.",
        run,
        (*place_parameters(one.command), file_parameter("output")),
        text_or(said),
        roles=one.rights.writers,
        machines=one.rights.machines,
        multiline=frozenset({"text"}),
        details="The file is in the machine's folder configuration/; one of that name is replaced.",
    )


def counted(one: Table, count: int) -> str:
    """Say how many rows."""
    return f"1 {one.one} was" if count == 1 else f"{count:,} {one.many} were"


def file_parameter(stream: str) -> Parameter:
    """Give the parameter that names a file."""
    described = Help(f"name of a file in configuration/, or - for standard {stream}", "FILE")
    return Parameter("file", "positional", str, described, (), True)


def _reading(
    described: Described,
    name: str,
    summary: str,
    *,
    run: Any,
    parameters: Sequence[Parameter],
    render: Any,
    details: str,
) -> Command:
    rights = described.table.rights
    return Command(
        f"{described.table.command} {name}",
        summary,
        run,
        tuple(parameters),
        render,
        roles=rights.readers,
        machines=rights.machines,
        multiline=frozenset({"text"}),
        details=details,
    )
