"""Whole listeners as TOML: `listenerconfig print`, `export` and `import`, and `delete`.

The text is what the configuration document has. Raises `GatepostError` 65 with every fault, 66 for what is not there.
"""

import tomllib
from typing import Any

from core.errors import EX_DATAERR, GatepostError
from core.toml import loads
from ops.cli.argument import Help, Parameter
from ops.cli.commands.listener.place import listener_of, listeners_of
from ops.cli.commands.listener.table import RIGHTS
from ops.cli.dialogue import Dialogue
from ops.cli.editing.changing import PENDING, with_warnings
from ops.cli.editing.file import put_out, read_text, text_or
from ops.cli.editing.reading import file_parameter, render_text
from ops.cli.registry import Call, Command, Document
from ops.configuration.toml import toml


def commands() -> list[Command]:
    """Make the commands of this module."""
    return [_printed(), _exported(), _imported(), _deleted()]


def _text(call: Call) -> Document:
    rows = listeners_of(call.editing.tables())
    return {"text": toml({"listener": rows}) if rows else "", "rows": len(rows)}


def _printed() -> Command:
    async def run(call: Call) -> Document:
        return _text(call)

    return Command(
        "listenerconfig print",
        "Print the listeners as the document has them.",
        run,
        (),
        render_text,
        roles=RIGHTS.readers,
        machines=RIGHTS.machines,
        multiline=frozenset({"text"}),
    )


def _exported() -> Command:
    async def run(call: Call, file: str) -> Document:
        return await put_out(call, file, **_text(call))

    def said(document: Document) -> str:
        return f"{document['rows']:,} listeners were written to {document['file']}."

    return Command(
        "listenerconfig export",
        "Write the listeners to a file.",
        run,
        (file_parameter("output"),),
        text_or(said),
        roles=RIGHTS.writers,
        machines=RIGHTS.machines,
        multiline=frozenset({"text"}),
    )


def _imported() -> Command:
    async def run(call: Call, file: str) -> Document:
        rows = _read(await read_text(call, file))

        def edit(tables: dict[str, Any]) -> None:
            tables["listener"] = rows

        warnings = await call.editing.change(f"listenerconfig import {file}", edit)
        return {"rows": len(rows), "warnings": warnings}

    def render(document: Document, width: int) -> str:
        return with_warnings(f"{document['rows']:,} listeners were read; {PENDING}.", document, width)

    return Command(
        "listenerconfig import",
        "Read the listeners from a file, in place of those that are there.",
        run,
        (file_parameter("input"),),
        render,
        roles=RIGHTS.writers,
        machines=RIGHTS.machines,
        details="The file has [[listener]] tables, as `export` writes them.",
    )


def _read(text: str) -> list[dict[str, Any]]:
    try:
        found = loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GatepostError(f"no TOML: {error}", EX_DATAERR) from None
    rows = found.get("listener")
    if set(found) != {"listener"} or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise GatepostError("the file must have [[listener]] tables and nothing else", EX_DATAERR)
    return rows


def _deleted() -> Command:
    async def run(call: Call, names: list[str]) -> Document:
        deleted: list[str] = []

        def edit(tables: dict[str, Any]) -> None:
            found = [listener_of(tables, name) for name in names]
            tables["listener"] = [row for row in listeners_of(tables) if all(row is not one for one in found)]
            deleted.extend(str(row["name"]) for row in found)

        warnings = await call.editing.change(f"listenerconfig delete {' '.join(names)}", edit)
        return {"deleted": deleted, "warnings": warnings}

    def render(document: Document, width: int) -> str:
        return with_warnings(f"Deleted: {', '.join(document['deleted'])}; {PENDING}.", document, width)

    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        name = await pick(call, talk, "Enter the name or number of the listener you wish to remove.")
        if not name or not await talk.confirm(f"Are you sure you want to delete the listener {name}?"):
            return None
        return {"names": [name]}

    return Command(
        "listenerconfig delete",
        "Delete listeners.",
        run,
        (Parameter("names", "rest", str, Help("names of listeners", "NAME"), (), True),),
        render,
        dialogue,
        roles=RIGHTS.writers,
        machines=RIGHTS.machines,
        details="`commit` closes the port; connections get 30 seconds to finish.",
    )


async def pick(call: Call, talk: Dialogue, question: str) -> str:
    """Let a listener be chosen by its name or number; '' for none."""
    names = [str(row["name"]) for row in listeners_of(call.editing.tables())]
    known = {name.lower(): name for name in names}
    while True:
        answer = await talk.ask(question, names[0] if len(names) == 1 else "", below=True)
        if answer.lower() in known or not answer:
            return known.get(answer.lower(), "")
        if answer.isdecimal() and answer.isascii() and 1 <= int(answer[:9]) <= len(names):
            return names[int(answer) - 1]
        talk.say(f"There is no listener {answer}; there are: {', '.join(names) or 'none'}.")
