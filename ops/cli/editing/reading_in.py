"""Reading a whole table from a text: every fault with its line, and nothing changed if there is one."""

import asyncio
from collections.abc import Sequence
from typing import Any

from core.errors import GatepostError
from core.schema import Refused, Row, put
from ops.cli.editing.file import read_text
from ops.cli.editing.row import Described, refuse, value_of
from ops.cli.editing.words import filled
from ops.cli.registry import Call, Document
from ops.formats import Entry, fault


async def read_in(described: Described, call: Call, places: Sequence[str], file: str, *, add: bool) -> Document:
    """Replace the rows of a table by those of a file, or add them. Raises status 65 with every fault."""
    text = await read_text(call, file)
    rows, notes = await asyncio.to_thread(rows_of, described, text)
    document: Document = {"rows": len(rows), "notes": notes, "added": add}

    def edit(tables: dict[str, Any]) -> None:
        present = described.load(tables, places)
        document["before"] = len(present)
        described.store(tables, _merged(described, present, rows) if add else rows, places)

    warnings = await call.editing.change(f"{filled(described.table.command, places)} import {file}", edit)
    return {**document, "warnings": warnings}


def _merged(described: Described, present: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    merged = {described.name(row).lower(): row for row in present}
    merged.update({described.name(row).lower(): row for row in rows})
    return list(merged.values())


def rows_of(described: Described, text: str) -> tuple[list[Row], list[str]]:
    """Read rows and notes from a text. Raises status 65 with every fault, each with its line."""
    parsed = described.table.format.parse(text)
    faults = list(parsed.faults)
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for entry in parsed.entries:
        row, wrong = row_of(described, entry)
        name = described.name(row).rstrip(".").lower()
        if not wrong and name in seen:
            wrong.append(fault(entry.line, f"{described.name(row)} stands in line {seen[name]} already"))
        seen.setdefault(name, entry.line)
        faults += wrong
        rows.append(row)
    faults.sort(key=_line_of)
    refuse(faults)
    return rows, list(parsed.notes)


def _line_of(text: str) -> int:
    return int(text.split(":", maxsplit=1)[0].removeprefix("line "))


def row_of(described: Described, entry: Entry) -> tuple[Row, list[str]]:
    """Give one row, and what is wrong with it."""
    known = {key.name: key for key in described.keys}
    row: Row = {}
    faults = []
    for name, words in entry.values.items():
        if name not in known:
            faults.append(fault(entry.at(name), f"{name}: there is no such key; there are: {', '.join(known)}"))
            continue
        try:
            put(row, name, value_of(known[name], words))
        except (GatepostError, Refused) as error:
            faults.append(fault(entry.at(name), str(error)))
    if not faults:
        faults = [fault(entry.at(found.key), str(found)) for found in described.faults(row)]
    return row, faults
