"""`listenerconfig`: listeners, their access tables and settings, by menus and in one line (docs/listeners.md).

`commands(schema)` makes all of it: what is special to listeners here, the rest by the table engine.
"""

from dataclasses import replace

from core.schema import Schema
from ops.cli.commands.listener import create, edit, rows, state
from ops.cli.commands.listener.access import AccessCommands
from ops.cli.commands.listener.menu import SETUP, top
from ops.cli.commands.listener.place import known
from ops.cli.commands.listener.table import GLOBAL, GROUPS, POLICIES, RIGHTS, SETTINGS, TABLES
from ops.cli.editing.build import build
from ops.cli.editing.row import described
from ops.cli.registry import Command


def commands(schema: Schema) -> list[Command]:
    """Make the commands; none where no document has listeners."""
    if "listener" not in schema:
        return []
    made = {item.name: item for item in build((*TABLES, *SETTINGS, *GLOBAL, SETUP), schema)}
    own = [top(), state.listed(RIGHTS), create.created(RIGHTS, schema), *rows.commands(), *edit.commands()]
    own += AccessCommands(described(GROUPS, schema), described(POLICIES, schema)).all()
    named = [
        replace(item, known=known) if item.places or item.name == "listenerconfig delete" else item for item in own
    ]
    made.update((item.name, item) for item in named)
    return list(made.values())
