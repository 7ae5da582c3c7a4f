"""Making commands of declarations. Called by `ops.cli.commands.registry` with the schema of the roots."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from core.errors import GatepostError
from core.schema import Schema
from ops.cli.appliance import Appliance
from ops.cli.dialogue import Dialogue
from ops.cli.editing import changing, reading
from ops.cli.editing.menu import row_dialogue, run_extra, table_dialogue
from ops.cli.editing.row import Described, described, shape_of
from ops.cli.editing.settings import settings_commands
from ops.cli.editing.table import Menu, Settings, Table
from ops.cli.editing.words import ROW
from ops.cli.registry import Ask, Call, Command, Document, Known

Edited = Table | Settings | Menu


def build(edited: Sequence[Edited], schema: Schema) -> list[Command]:
    """Make all commands; a declaration whose section no document has makes none."""
    commands: list[Command] = []
    menus = [one for one in edited if isinstance(one, Menu)]
    for one in edited:
        if isinstance(one, Menu):
            continue
        if one.path[0] in schema:
            commands += (
                _of_table(one, schema) if isinstance(one, Table) else settings_commands(one, shape_of(one, schema))
            )
    there = {command.name for command in commands}
    return [*commands, *(_menu(menu) for menu in menus if menu.extras[0].command in there)]


def _of_table(table: Table, schema: Schema) -> list[Command]:
    rows = described(table, schema)
    made = [reading.listed(rows), reading.printed(rows), reading.exported(rows)]
    made += [changing.imported(rows), changing.created(rows), changing.edited(rows)]
    made += [changing.deleted(rows), changing.cleared(rows)]
    if not rows.plain:
        made.append(reading.detailed(rows))
    if table.fallback:
        made.append(_fallback(rows))
    if table.ordered:
        made.append(changing.moved(rows))
    named = _names(rows)
    return [_top(rows), *(_completed(command, named) for command in made)]


def _top(rows: Described) -> Command:
    table = rows.table
    summary = table.summary or f"Show and change the {table.many}."
    return Command(
        table.command,
        summary,
        None,
        dialogue=table_dialogue(rows),
        roles=table.rights.readers,
        machines=table.rights.machines,
    )


def _fallback(rows: Described) -> Command:
    """Make `default`: `edit` of the row that counts where others say nothing."""
    name, edit = rows.table.fallback, changing.edited(rows)

    async def run(call: Call, **given: Any) -> Document:
        assert edit.run is not None
        return await edit.run(call, **{**given, ROW: name})

    return replace(
        edit,
        name=f"{rows.table.command} default",
        summary=f"Change what counts for all other {rows.table.many}.",
        run=run,
        parameters=tuple(one for one in edit.parameters if one.name != ROW),
        dialogue=row_dialogue(rows, name),
    )


def _completed(command: Command, known: Known) -> Command:
    names_row = any(one.name == ROW for one in command.parameters)
    if not names_row and not command.places:
        return command
    return replace(command, known=known)


def _names(rows: Described) -> Known:
    """Give what completes the places and the name of a row: what is in force."""

    def known(appliance: Appliance, before: Sequence[str]) -> Sequence[str]:
        try:
            tables = appliance.editing("").place.in_force().tables
            path = rows.table.path
            if len(before) < sum(part.isupper() for part in path):
                return [str(row.get("name", "")) for row in tables.get(path[0]) or []]
            return [rows.name(row) for row in reading.with_fixed(rows, rows.load(tables, before))]
        except GatepostError:
            return ()

    return known


def _menu(menu: Menu) -> Command:
    return Command(
        menu.command,
        menu.summary,
        None,
        dialogue=_dialogue(menu),
        roles=menu.rights.readers,
        machines=menu.rights.machines,
    )


def _dialogue(menu: Menu) -> Ask:
    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        allowed = [extra for extra in menu.extras if call.may(extra.command)]
        while True:
            if menu.shown_by:
                await talk.perform(menu.shown_by, {})
            choice = await talk.menu({extra.name: extra.text for extra in allowed})
            if not choice:
                return None
            await run_extra(call, talk, next(extra for extra in allowed if extra.name == choice))

    return dialogue
