"""Writes the commands of the console down: `python -m ops.cli.document DIR` makes `commands.md` there.

Everything comes from the registry, so the page cannot say what the console does not do; a test compares the page
that is checked in. Used by no daemon.
"""

import sys
from pathlib import Path

from core.errors import EX_OK, EX_USAGE
from ops.cli.account import Role
from ops.cli.argument import on_the_line
from ops.cli.commands import registry
from ops.cli.registry import MACHINES, Command

_HEAD = """# Commands of the console

Made from the command registry by `python -m ops.cli.document docs/cli`; do not edit. How to reach the console,
roles and exit statuses: [console.md](../console.md). Every command but the dialogues takes `--json`.

| command | what it does | machines | administrator | operator | guest | support |
|---|---|---|---|---|---|---|
"""


def page() -> str:
    """Give the whole page."""
    commands = registry().all()
    return _HEAD + "\n".join(_row(item) for item in commands) + "\n\n" + "\n".join(_section(item) for item in commands)


def _row(item: Command) -> str:
    order = (Role.ADMINISTRATOR, Role.OPERATOR, Role.GUEST, Role.SUPPORT)
    rights = " | ".join("yes" if role in item.roles else "–" for role in order)
    machines = "all" if item.machines == MACHINES else ", ".join(sorted(item.machines))
    return f"| `{item.name}` | {item.summary} | {machines} | {rights} |"


def _section(item: Command) -> str:
    lines = [f"## {item.name}", "", item.summary]
    if item.run is not None:
        lines += [item.details, "", "```", item.usage, "```"]
    if item.dialogue is not None:
        lines += ["", "Without arguments, in a session, it asks for what it needs."]
    if on_the_line(item.parameters):
        lines += ["", "| argument | meaning |", "|---|---|"]
    for one in on_the_line(item.parameters):
        name = one.option if one.kind in {"option", "flag"} else one.metavar
        shown = name.replace("|", r"\|")
        lines.append(f"| `{shown}` | {one.help.text} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Write the page into the folder named."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m ops.cli.document DIR\n")
        return EX_USAGE
    folder = Path(argv[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "commands.md").write_text(page(), encoding="utf-8")
    return EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
