"""What the commands that edit the pending configuration by hand have in common: one change, its answer, rows, a menu.

Used by commands whose questions are the model's own (`alertconfig`, `dnsconfig`, `certconfig`, `sslconfig`, `settz`).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from core.errors import EX_DATAERR, EX_USAGE, GatepostError
from ops.cli.account import Role
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.editing.changing import PENDING, with_warnings
from ops.cli.editing.file import STREAM, read_text, write_text
from ops.cli.registry import Call, Command, Document
from ops.configuration.place import Tables
from ops.formats.line import Lines


async def stage(call: Call, what: str, edit: Callable[[Tables], None], **facts: Any) -> Document:
    """Change the caller's pending copy; gives what was done, and what a commit would refuse as things stand."""
    warnings = await call.editing.change(what, edit)
    return {"changed": what, "pending": call.editing.pending, "warnings": warnings, **facts}


def render_staged(document: Document, width: int) -> str:
    """Say what was changed, and how it comes into force."""
    how = f"; {PENDING}." if document["pending"] else "."
    text = "\n".join([_sentence(str(document["changed"])) + how, *document.get("notes", [])])
    return with_warnings(text, document, width)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def section(tables: Mapping[str, Any], name: str) -> Tables:
    """Give a section of plain tables, empty where it is not there."""
    found = tables.get(name)
    return dict(found) if isinstance(found, Mapping) else {}


def put(tables: Tables, name: str, **values: Any) -> None:
    """Write keys into a section; None takes a key out, and the section where nothing is left."""
    kept = section(tables, name) | {key: value for key, value in values.items() if value is not None}
    for key, value in values.items():
        if value is None:
            kept.pop(key, None)
    if kept:
        tables[name] = kept
    else:
        tables.pop(name, None)


def also_called(command: Command, name: str) -> Command:
    """Give the same command under another name."""
    return replace(command, name=name, details=f"The same as `{command.name}`.")


def words_of(text: str) -> list[str]:
    """Split values on one line: by commas."""
    return [part for part in (part.strip() for part in text.split(",")) if part]


def sure(yes: bool, what: str) -> None:
    """Raise status 64 where something is to be thrown away and nobody said that it is meant."""
    if not yes:
        raise GatepostError(f"{what}: say --yes to do it", EX_USAGE)


File = Annotated[str, Help("file in configuration/, - for standard input or output", "FILE")]


async def read_rows(call: Call, form: Lines, file: str) -> list[dict[str, Any]]:
    """Read the rows of a file. Raises status 65 with every fault and its line."""
    parsed = form.parse(await read_text(call, file))
    if parsed.faults:
        raise GatepostError("\n".join(parsed.faults), EX_DATAERR)
    return [dict(entry.values) for entry in parsed.entries]


async def write_rows(call: Call, form: Lines, file: str, rows: Sequence[Mapping[str, Any]]) -> Document:
    """Write rows to a file; to standard output the text itself."""
    text = form.format(rows)
    if file == STREAM:
        return {"file": file, "rows": len(rows), "text": text}
    return {"file": str(await write_text(call, file, text)), "rows": len(rows), "text": ""}


def render_written(document: Document, width: int) -> str:
    """Show the text, or say where it is."""
    return str(document["text"]) or f"{document['rows']} rows were written to {document['file']}."


Operations = Mapping[str, tuple[str, Callable[[], Awaitable[object]]]]
"""The lines of a menu, each with what is done when it is chosen."""


async def menu_of(call: Call, dialogue: Dialogue, show: str, operations: Operations) -> None:
    """Show the state and the menu again after each operation, until empty input; the menu to administrators only."""
    while True:
        await dialogue.perform(show, {})
        if call.caller.role is not Role.ADMINISTRATOR:
            return
        chosen = await dialogue.menu({name: text for name, (text, _) in operations.items()})
        if not chosen:
            return
        await operations[chosen][1]()


def pick(names: Sequence[str], answer: str) -> str:
    """Find what a number or a name of a numbered list means; '' if neither."""
    if answer.isdecimal() and 1 <= int(answer) <= len(names):
        return names[int(answer) - 1]
    return next((name for name in names if name.lower() == answer.lower()), "")
