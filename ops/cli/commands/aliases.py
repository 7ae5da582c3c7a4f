"""`aliasconfig`: the alias table of the machine, edited as all tables are (`ops/cli/editing`).

What aliases do says docs/aliases.md; domain maps and masquerading belong to listeners (`listenerconfig edit NAME`).
"""

from ops.cli.editing import Question, Rights, Table
from ops.formats.alias import Aliases

ALIASES = Table(
    command="aliasconfig",
    path=("alias",),
    key="alias",
    one="recipient alias",
    many="aliases",
    summary="Recipients that stand for others, on all listeners.",
    places=("alias", "to"),
    format=Aliases(),
    columns=(("alias", "Alias"), ("to", "Stands for")),
    questions=(
        Question("alias", "Enter the alias: user, user@domain, user@.partial, @domain or @.partial"),
        Question("to", "Enter the addresses or aliases that it stands for, separated by commas; /dev/null for nobody"),
    ),
    rights=Rights(machines=frozenset({"esa"})),
    ordered=True,
)

EDITED = (ALIASES,)
