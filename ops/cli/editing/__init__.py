"""The table engine: from a declaration and the schema of the configuration to commands, dialogues and files.

A module of `ops/cli/commands` declares what it edits and lists it in `EDITED`:

    ROUTES = Table(
        command="smtproutes",                  # capitals are places: "listenerconfig edit NAME rcptaccess"
        path=("route",),                       # where it lies in the document: ("listener", "NAME", "rat")
        key="domain", one="route", many="routes",
        places=("domain", "hosts"),            # `smtproutes new DOMAIN HOSTS…`; all other keys are options
        format=Lines("SMTP routes", "domain", "hosts", several=True),
        columns=(("domain", "Domain"), ("hosts", "Hosts")),
        questions=(Question("domain", "Enter the domain"), Question("hosts", "Enter the hosts")),
    )
    EDITED = (ROUTES,)

and has `smtproutes` with its menu, `smtproutes list | detail | print | export | import | new | edit | delete | clear`
(`move` if `ordered`), in dialogue, batch and `--json`. `Settings` does the same for a section (`X setup` and a command
that shows it), `Menu` joins commands under one name. Keys, kinds, bounds, defaults and checks come from the schema:
a key added to a model is an option, a question and a column of `detail` at once. Where the order of questions has
conditions, `questions` is a function of `Asking`. `registry(schema)` builds all of it.
"""

from ops.cli.editing.build import build
from ops.cli.editing.table import Extra, Menu, Question, Reference, Rights, Settings, Table

__all__ = ["Extra", "Menu", "Question", "Reference", "Rights", "Settings", "Table", "build"]
