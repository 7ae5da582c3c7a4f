"""The dialogue of a table: its state, the menu of what the caller may do, and each operation with its questions.

After each operation the state and the menu come again; empty input leaves. Each operation ends in the command of its
batch form, so rights, audit and effect are the same.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from core.schema import Row
from ops.cli.dialogue import Dialogue
from ops.cli.display import with_article
from ops.cli.editing.asking import Asking
from ops.cli.editing.reading import find, numbered, with_fixed
from ops.cli.editing.row import Described
from ops.cli.editing.table import Extra
from ops.cli.editing.words import RESET, ROW, filled, given_places
from ops.cli.registry import Ask, Call, Document

_FEW = 20
"""Rows that the state shows by name."""
_DEFAULT_FILE = "{}.txt"
Operation = Callable[["TableMenu"], Awaitable[None]]


class TableMenu:
    """One dialogue over one table."""

    def __init__(self, described: Described, call: Call, dialogue: Dialogue) -> None:
        self.described = described
        self.call = call
        self.dialogue = dialogue
        self.table = described.table

    def rows(self) -> list[Row]:
        """Give the rows of the pending copy."""
        return with_fixed(self.described, self.described.load(self.call.editing.tables(), self.call.places))

    async def run(self) -> None:
        """Show state and menu until the caller leaves."""
        while True:
            rows = self.rows()
            self.state(rows)
            operations = self.offered(rows)
            choice = await self.dialogue.menu({name: text for name, (text, _) in operations.items()})
            if not choice:
                return
            await operations[choice][1](self)

    def state(self, rows: Sequence[Row]) -> None:
        """Say which rows there are."""
        one = self.table
        if not rows:
            self.dialogue.say(f"\nThere are no {one.many}.")
            return
        self.dialogue.say(
            f"\nThere {'is 1' if len(rows) == 1 else f'are {len(rows):,}'} {one.many if len(rows) > 1 else one.one}:"
        )
        self.dialogue.say(numbered(self.described, rows, _FEW, self.call.width))
        if len(rows) > _FEW:
            self.dialogue.say(f"… {len(rows) - _FEW:,} more; LIST shows them")

    def offered(self, rows: Sequence[Row]) -> Mapping[str, tuple[str, Operation]]:
        """Give the operations that make sense now and that the caller may run."""
        one = self.table
        some, removable = bool(rows), any(not self.described.fixed(self.described.name(row)) for row in rows)
        changing = {
            "NEW": (True, f"Create {with_article(one.one)}.", _new),
            "EDIT": (some and not self.described.plain, f"Change {with_article(one.one)}.", _edit),
            "DELETE": (removable, f"Delete {with_article(one.one)}.", _delete),
            "MOVE": (one.ordered and len(rows) > 1, f"Move {with_article(one.one)} to another place.", _move),
        }
        shown = {
            "LIST": (some, f"List the {one.many}.", _list),
            "DETAIL": (some and not self.described.plain, f"Show all of one {one.one}.", _detail),
            "PRINT": (some, f"Print the {one.many} as their file has them.", _print),
            "IMPORT": (True, f"Read the {one.many} from a file.", _import),
            "EXPORT": (some, f"Write the {one.many} to a file.", _export),
            "CLEAR": (removable, f"Delete all {one.many}.", _clear),
        }
        found: dict[str, tuple[str, Operation]] = {}
        for name, (sensible, text, operation) in changing.items():
            if sensible and self.call.may(f"{one.command} {name.lower()}"):
                found[name] = (text, operation)
        for extra in one.extras:
            if self.call.may(extra.command):
                found[extra.name] = (extra.text, _extra(extra))
        for name, (sensible, text, operation) in shown.items():
            if sensible and self.call.may(f"{one.command} {name.lower()}"):
                found[name] = (text, operation)
        return found

    async def perform(self, operation: str, arguments: Document) -> None:
        """Run an operation's command."""
        places = given_places(self.table.command, self.call.places)
        await self.dialogue.perform(f"{self.table.command} {operation}", {**places, **arguments})

    async def pick(self, question: str, names: Sequence[str]) -> str:
        """Let a row be chosen by its name or its number."""
        default = names[0] if len(names) == 1 else ""
        known = {name.rstrip(".").lower(): name for name in names}
        while True:
            answer = await self.dialogue.ask(f"{question} (name or number)", default)
            if answer.rstrip(".").lower() in known:
                return known[answer.rstrip(".").lower()]
            if answer.isdecimal() and answer.isascii() and 1 <= int(answer[:9]) <= len(names):
                return names[int(answer) - 1]
            if not answer:
                return ""
            self.dialogue.say(self._not_there(answer, len(names)))

    def _not_there(self, answer: str, count: int) -> str:
        fixed = self.described.fixed(answer)
        if fixed:
            return f"{fixed} {self.table.fixed[fixed]}."
        return f"There is no {self.table.one} {answer}; give a name or a number from 1 to {count:,}."

    def asking(self, row: Row, rows: Sequence[Row], *, new: bool) -> Asking:
        """Begin the questions about a row."""
        effective = self.described.effective(row, rows) if not new or self.table.fallback else {}
        mine = "" if new else self.described.name(row)
        return Asking(
            self.call,
            self.dialogue,
            self.described.keys,
            dict(row),
            tables=self.call.editing.tables(),
            refers=self.table.refers,
            effective=effective,
            taken=[name for name in map(self.described.name, rows) if name != mine],
            name_key=self.table.key,
            new=new,
        )

    async def filled_in(self, asking: Asking) -> None:
        """Ask until the row as a whole is right, or what is wrong cannot be asked."""
        await asking.ask_all(self.table.questions)
        while (faults := self.described.faults(asking.row)) and await asking.mend(faults):
            pass


async def _new(menu: TableMenu) -> None:
    asking = menu.asking({}, menu.rows(), new=True)
    await menu.filled_in(asking)
    await menu.perform("new", asking.answers)


async def _edit(menu: TableMenu) -> None:
    rows = menu.rows()
    name = await menu.pick(f"Enter the {menu.table.one} to change", [menu.described.name(row) for row in rows])
    if name:
        await edit_row(menu, name)


async def edit_row(menu: TableMenu, name: str) -> None:
    """Ask about one row and change it."""
    rows = menu.rows()
    place = find(menu.described, rows, name)
    asking = menu.asking(rows[place], rows, new=False)
    await menu.filled_in(asking)
    if not asking.answers and not asking.away:
        menu.dialogue.say("Nothing was changed.")
        return
    away = {RESET: ",".join(asking.away)} if asking.away else {}
    await menu.perform("edit", {ROW: name, **asking.answers, **away})


async def _delete(menu: TableMenu) -> None:
    names = [name for name in map(menu.described.name, menu.rows()) if not menu.described.fixed(name)]
    name = await menu.pick(f"Enter the {menu.table.one} to delete", names)
    if name and await menu.dialogue.confirm(f"Are you sure you want to delete {name}?"):
        await menu.perform("delete", {ROW: [name]})


async def _move(menu: TableMenu) -> None:
    names = [menu.described.name(row) for row in menu.rows()]
    name = await menu.pick(f"Enter the {menu.table.one} to move", names)
    if not name:
        return
    while True:
        answer = await menu.dialogue.ask(f"Enter its new place, 1 to {len(names):,}", "1")
        if answer.isdecimal() and 1 <= int(answer[:9]) <= len(names):
            break
        menu.dialogue.say(f"Please answer with a number from 1 to {len(names):,}.")
    await menu.perform("move", {ROW: name, "position": int(answer)})


async def _list(menu: TableMenu) -> None:
    match = await menu.dialogue.ask("Only those with this text (Enter for all)") if len(menu.rows()) > _FEW else ""
    await menu.perform("list", {"match": match or None})


async def _detail(menu: TableMenu) -> None:
    name = await menu.pick(f"Enter the {menu.table.one} to show", [menu.described.name(row) for row in menu.rows()])
    if name:
        await menu.perform("detail", {ROW: name})


async def _print(menu: TableMenu) -> None:
    await menu.perform("print", {})


async def _import(menu: TableMenu) -> None:
    name = await menu.dialogue.ask("Enter the name of the file to import", _file_of(menu))
    many, count = menu.table.many, len(menu.rows())
    if not count or await menu.dialogue.confirm(f"Replace the {count:,} {many} that are there?"):
        await menu.perform("import", {"file": name, "add": False})


async def _export(menu: TableMenu) -> None:
    await menu.perform("export", {"file": await menu.dialogue.ask("Enter the name of the file", _file_of(menu))})


def _file_of(menu: TableMenu) -> str:
    return _DEFAULT_FILE.format(filled(menu.table.command, menu.call.places).replace(" ", "-"))


async def _clear(menu: TableMenu) -> None:
    if await menu.dialogue.confirm(f"Are you sure you want to delete all {menu.table.many}?"):
        await menu.perform("clear", {})


def _extra(extra: Extra) -> Operation:
    async def operation(menu: TableMenu) -> None:
        await run_extra(menu.call, menu.dialogue, extra)

    return operation


async def run_extra(call: Call, dialogue: Dialogue, extra: Extra) -> None:
    """Run the dialogue of another command, and the command if it has none or if its dialogue gives arguments."""
    item = call.registry.named(extra.command)
    places: dict[str, Any] = dict(given_places(extra.command, call.places))
    if item.dialogue is None:
        await dialogue.perform(extra.command, places)
        return
    arguments = await item.dialogue(call, dialogue)
    if arguments is not None:
        await dialogue.perform(extra.command, {**places, **arguments})


def table_dialogue(described: Described) -> Ask:
    """Give the dialogue of a table's command."""

    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        await TableMenu(described, call, talk).run()
        return None

    return dialogue


def row_dialogue(described: Described, name: str) -> Ask:
    """Give the dialogue that changes one particular row."""

    async def dialogue(call: Call, talk: Dialogue) -> Document | None:
        await edit_row(TableMenu(described, call, talk), name)
        return None

    return dialogue
