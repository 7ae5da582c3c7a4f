"""The commands of a table that change the caller's pending copy: `new`, `edit`, `delete`, `clear`, `move`, `import`.

Each gives its document with `warnings`: what a commit would refuse as it is now. Raises `GatepostError`: 65 for what
cannot be, with every reason, 66 for what is not there; nothing is changed then.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from core.schema import Row
from ops.cli.argument import Help, Parameter, parameters_of
from ops.cli.display import folded, with_article
from ops.cli.editing.reading import counted, file_parameter, find, row_parameter
from ops.cli.editing.reading_in import read_in
from ops.cli.editing.row import Described, refuse
from ops.cli.editing.words import (
    RESET,
    ROW,
    filled,
    key_parameters,
    option,
    place_parameters,
    reset,
    row_from,
    take_places,
)
from ops.cli.registry import Call, Command, Document

Work = Callable[[list[Row], dict[str, Any]], Document]
"""Changes rows by the arguments of a command; gives what the document says of it."""
PENDING = "pending until `commit`"


async def _before_form(
    call: Call,
    *,
    before: Annotated[str | None, Help("put it before this one instead of at the end", "NAME")] = None,
) -> None:
    """Give the option of `new` where the order counts."""


def reset_parameter() -> Parameter:
    """Give the option that takes keys out again."""
    return Parameter(RESET, "option", str, Help("keys whose default is to count again", "KEY,KEY…"))


def created(described: Described) -> Command:
    """Make `new`."""
    one = described.table

    def work(rows: list[Row], given: dict[str, Any]) -> Document:
        before = given.pop("before", None)
        row = row_from(described.keys, {}, given)
        name = described.name(row)
        _must_be_new(described, rows, name)
        refuse(described.faults(row))
        rows.insert(len(rows) if before is None else find(described, rows, before), row)
        return {described.noun: row[one.key] if described.plain else row, "name": name}

    further = parameters_of(_before_form) if one.ordered else ()
    named = [replace(key, required=key.required or key.name == one.key) for key in described.keys]
    keys = key_parameters(named, one.places or (one.key,), required=True)
    return _changing(
        described,
        "new",
        f"Create {with_article(one.one)}.",
        parameters=(*keys, *further),
        work=work,
        said=lambda document: f"The {one.one} {document['name']} was created; {PENDING}.",
    )


def _must_be_new(described: Described, rows: Sequence[Row], name: str) -> None:
    if not name:
        raise GatepostError(f"{described.table.key}: the {described.table.one} needs a name", EX_DATAERR)
    if described.place(rows, name) is not None or described.fixed(name):
        one, command = described.table.one, described.table.command
        raise GatepostError(f"the {one} {name} is there already; `{command} edit {name}` changes it", EX_DATAERR)


def edited(described: Described) -> Command:
    """Make `edit`."""
    one = described.table

    def work(rows: list[Row], given: dict[str, Any]) -> Document:
        name, names = given.pop(ROW), given.pop(RESET, None)
        place = _place_for(described, rows, name)
        row = row_from(described.keys, dict(rows[place]), given)
        reset(described.keys, row, names)
        called = described.name(row)
        if called.lower() != described.name(rows[place]).lower():
            if described.fixed(name):
                raise GatepostError(f"{described.fixed(name)} keeps its name", EX_DATAERR)
            _must_be_new(described, rows, called)
        refuse(described.faults(row))
        rows[place] = row
        return {described.noun: row[one.key] if described.plain else row, "name": called}

    standing = [name for name in one.places if name != one.key]
    keys = (
        key_parameters(described.keys, standing, required=False)
        if standing
        else [option(key) for key in described.keys]
    )
    return _changing(
        described,
        "edit",
        f"Change {with_article(one.one)}.",
        parameters=(row_parameter(one.one), *keys, *(() if described.plain else (reset_parameter(),))),
        work=work,
        said=lambda document: f"The {one.one} {document['name']} was changed; {PENDING}.",
    )


def _place_for(described: Described, rows: list[Row], name: str) -> int:
    """Give the place of the row to edit; one that is always there is written down now."""
    fixed = described.fixed(name)
    if fixed and described.place(rows, fixed) is None:
        rows.insert(0, {described.table.key: fixed, **described.table.given.get(fixed, {})})
    return find(described, rows, name)


def deleted(described: Described) -> Command:
    """Make `delete`."""
    one = described.table

    def work(rows: list[Row], given: dict[str, Any]) -> Document:
        names = list(dict.fromkeys(given[ROW]))
        refuse([f"{name} {one.fixed[described.fixed(name)]}" for name in names if described.fixed(name)])
        missing = [name for name in names if described.place(rows, name) is None]
        if missing:
            raise GatepostError(f"there is no {one.one} {', '.join(missing)}; nothing was deleted", EX_NOINPUT)
        for name in names:
            place = described.place(rows, name)
            if place is not None:
                del rows[place]
        return {"deleted": names, "name": ", ".join(names[:5])}

    def said(document: Document) -> str:
        names = document["deleted"]
        if len(names) == 1:
            return f"The {one.one} {names[0]} was deleted; {PENDING}."
        return f"{counted(one, len(names))} deleted; {PENDING}."

    parameters = (row_parameter(one.one, several=True),)
    return _changing(described, "delete", f"Delete {one.many}.", parameters=parameters, work=work, said=said)


def cleared(described: Described) -> Command:
    """Make `clear`."""
    one = described.table

    def work(rows: list[Row], given: dict[str, Any]) -> Document:
        kept = [row for row in rows if described.fixed(described.name(row))]
        count = len(rows) - len(kept)
        rows[:] = kept
        return {"deleted": count, "name": f"all {count:,}"}

    summary = f"Delete all {one.many}."
    if one.fixed:
        summary = f"Delete all {one.many} but {', '.join(one.fixed)}."

    def said(document: Document) -> str:
        return f"{counted(one, document['deleted'])} deleted; {PENDING}."

    return _changing(described, "clear", summary, parameters=(), work=work, said=said)


def moved(described: Described) -> Command:
    """Make `move`."""
    one = described.table

    def work(rows: list[Row], given: dict[str, Any]) -> Document:
        row = rows.pop(find(described, rows, given[ROW]))
        place = min(given["position"], len(rows) + 1)
        rows.insert(place - 1, row)
        return {"moved": given[ROW], "position": place, "name": f"{given[ROW]} to {place}"}

    position = Parameter("position", "positional", int, Help("its new place, from 1", "POSITION", least=1), (), True)
    return _changing(
        described,
        "move",
        f"Move {with_article(one.one)} to another place; the first that matches counts.",
        parameters=(row_parameter(one.one), position),
        work=work,
        said=lambda document: f"The {one.one} {document['moved']} is number {document['position']} now; {PENDING}.",
    )


def _changing(
    described: Described,
    name: str,
    summary: str,
    *,
    parameters: Sequence[Parameter],
    work: Work,
    said: Callable[[Document], str],
) -> Command:
    command, rights = described.table.command, described.table.rights

    async def run(call: Call, **given: Any) -> Document:
        places = take_places(command, given)
        document: Document = {}

        def edit(tables: dict[str, Any]) -> None:
            rows = described.load(tables, places)
            document.update(work(rows, dict(given)))
            described.store(tables, rows, places)

        what = f"{filled(command, places)} {name}"
        warnings = await call.editing.change(f"{what} {given_name(given, described)}".strip(), edit)
        if name not in {"new", "edit"}:
            document.pop("name")
        return {**document, "warnings": warnings}

    def render(document: Document, width: int) -> str:
        return with_warnings(said(document), document, width)

    return Command(
        f"{command} {name}",
        summary,
        run,
        (*place_parameters(command), *parameters),
        render,
        roles=rights.writers,
        machines=rights.machines,
        details="The pending configuration is changed; `commit` puts it in force.",
    )


def given_name(given: dict[str, Any], described: Described) -> str:
    """Name the rows that a command was about, for the list of changes."""
    found = given.get(ROW) or given.get(described.table.key) or ""
    return " ".join(found[:5]) + (" …" if len(found) > 5 else "") if isinstance(found, list) else str(found)


def with_warnings(text: str, document: Document, width: int) -> str:
    """Put warnings under what was done."""
    return "\n".join([text, *(folded("Warning: ", warning, width) for warning in document["warnings"])])


def imported(described: Described) -> Command:
    """Make `import`."""
    command, rights, one = described.table.command, described.table.rights, described.table

    async def run(call: Call, **given: Any) -> Document:
        return await read_in(described, call, take_places(command, given), given["file"], add=bool(given.get("add")))

    def render(document: Document, width: int) -> str:
        how = "beside" if document["added"] else "in place of"
        text = f"{counted(one, document['rows'])} read {how} {document['before']:,}; {PENDING}."
        notes = [f"Note: {note}" for note in document["notes"]]
        return with_warnings("\n".join([text, *notes]), document, width)

    add = Help(f"keep the {one.many} that are there; those of the same name are replaced")
    return Command(
        f"{command} import",
        f"Read the {one.many} from a file, in place of those that are there.",
        run,
        (
            *place_parameters(command),
            file_parameter("input"),
            Parameter("add", "flag", bool, add, (), False, False),
        ),
        render,
        roles=rights.writers,
        machines=rights.machines,
        details="Every fault is told with its line; if there is one, nothing is changed. Files are in configuration/.",
    )
