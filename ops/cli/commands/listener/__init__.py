"""`listenerconfig`: listeners, their access tables and settings, by menus and in one line (docs/listeners.md).

`commands(schema)` makes all of it: what is special to listeners here, the rest by the table engine.
"""

from dataclasses import replace
from typing import Any

from core.schema import Schema
from ops.cli.commands.listener import create, edit, rows, state
from ops.cli.commands.listener.access import AccessCommands
from ops.cli.commands.listener.menu import SETUP, top
from ops.cli.commands.listener.place import known
from ops.cli.commands.listener.table import GLOBAL, GROUPS, POLICIES, RIGHTS, SETTINGS, TABLES
from ops.cli.editing.build import build
from ops.cli.editing.row import described
from ops.cli.editing.words import RESET
from ops.cli.registry import Call, Command, Document, Run

_CHANGES = "The pending configuration is changed; `commit` puts it in force."
_DETAILS = {
    "print": "The text is what `export` writes and `import` reads.",
    "export": "The file is in the machine's folder configuration/; one of that name is replaced.",
    "import": "Every fault is told with its line; if there is one, nothing is changed. Files are in configuration/.",
}


def commands(schema: Schema) -> list[Command]:
    """Make the commands; none where no document has listeners."""
    if "listener" not in schema:
        return []
    made = {item.name: _one_or_the_other(item) for item in build((*TABLES, *SETTINGS, *GLOBAL, SETUP), schema)}
    own = [top(), state.listed(RIGHTS), create.created(RIGHTS, schema), *rows.commands(), *edit.commands()]
    own += AccessCommands(described(GROUPS, schema), described(POLICIES, schema)).all()
    named = [
        replace(item, known=known) if item.places or item.name == "listenerconfig delete" else item for item in own
    ]
    made.update((item.name, _told(item)) for item in named)
    return list(made.values())


def _told(item: Command) -> Command:
    """Have every command say more of itself than its summary."""
    if item.run is None or item.details:
        return item
    if item.name == "listenerconfig edit NAME print":
        return replace(item, details="What the caller has changed and not committed is in it.")
    return replace(item, details=_DETAILS.get(item.words[-1], _CHANGES))


def _one_or_the_other(item: Command) -> Command:
    """Have a sender group that gets a policy lose its own rule, and the other way round: only one of them can count."""
    if item.name != f"{GROUPS.command} edit" or item.run is None:
        return item
    inner: Run = item.run

    async def run(call: Call, **given: Any) -> Document:
        policy, rule = given.get("mail_flow_policy"), given.get("rule")
        other = "rule" if policy and not rule else "mail_flow_policy" if rule and not policy else ""
        if other:
            given[RESET] = ",".join(filter(None, (given.get(RESET), other)))
        return await inner(call, **given)

    return replace(item, run=run)
