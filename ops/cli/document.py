"""The pages of `docs/cli/`: an index of all commands, and a page for each first word with all that begins with it.

Everything comes from the registry, so a page cannot say what the console does not do; a test compares those that are
checked in. `python -m daemons.document docs/cli` writes them. Used by no daemon.
"""

import sys
from collections.abc import Sequence

from core.errors import EX_USAGE
from ops.cli.account import Role
from ops.cli.argument import Parameter, on_the_line
from ops.cli.registry import MACHINES, Command, Registry, is_place

INDEX = "commands.md"
_MADE = "Made from the command registry by `python -m daemons.document docs/cli`; do not edit."
_ORDER = (Role.ADMINISTRATOR, Role.OPERATOR, Role.GUEST, Role.SUPPORT)
_HEAD = f"""# Commands of the console

{_MADE} How to reach the console, roles and exit statuses: [console.md](../console.md). Every command but the dialogues
takes `--json`; words in capitals stand for names.

| command | what it does | machines | administrator | operator | guest | support |
|---|---|---|---|---|---|---|
"""
_EXAMPLE_WORDS = {"N": "10", "SIZE": "10M", "TEXT": "TEXT", "A,B…": "A,B"}


def pages(commands: Registry) -> dict[str, str]:
    """Give all pages by their file names."""
    by_word: dict[str, list[Command]] = {}
    for item in commands.all():
        by_word.setdefault(item.words[0], []).append(item)
    written = {f"{word}.md": _page(word, items) for word, items in by_word.items()}
    return {**written, INDEX: _HEAD + "\n".join(_row(item) for item in commands.all()) + "\n"}


def _row(item: Command) -> str:
    rights = " | ".join("yes" if role in item.roles else "–" for role in _ORDER)
    return f"| [`{item.name}`]({item.words[0]}.md#{_anchor(item)}) | {item.summary} | {_machines(item)} | {rights} |"


def _anchor(item: Command) -> str:
    return "-".join(word.lower() for word in item.words)


def _machines(item: Command) -> str:
    return "all" if item.machines == MACHINES else ", ".join(sorted(item.machines))


def _page(word: str, items: Sequence[Command]) -> str:
    top = next((item for item in items if item.name == word), None)
    lines = [f"# {word}", "", _MADE, ""]
    if top is not None:
        lines += [top.summary, ""]
    if len(items) > 1:
        lines += ["| operation | what it does |", "|---|---|"]
        lines += [f"| [`{item.name}`](#{_anchor(item)}) | {item.summary} |" for item in items if item is not top]
        lines.append("")
    sections = [item for item in items if item.run is not None or item is not top]
    if top is not None and top.run is None:
        lines += [_by_menu(top), ""]
    return "\n".join([*lines, *(_section(item) for item in sections)]).rstrip("\n") + "\n"


def _by_menu(item: Command) -> str:
    return f"`{item.name}` alone, in a session, asks: a menu of the operations above that the caller may run."


def _section(item: Command) -> str:
    roles = ", ".join(str(role) for role in _ORDER if role in item.roles)
    lines = [f"## {item.name}", "", item.summary]
    if item.details:
        lines += ["", item.details]
    lines += ["", f"Machines: {_machines(item)}. Roles: {roles}."]
    if item.run is not None:
        lines += ["", "```", item.usage, "```"]
    if item.dialogue is not None:
        lines += ["", "Without arguments, in a session, it asks for what it needs."]
    if on_the_line(item.parameters):
        lines += ["", "| argument | meaning | values |", "|---|---|---|"]
        lines += [_argument(one) for one in on_the_line(item.parameters)]
    if item.run is not None and (words := _example(item)) != item.name:
        lines += ["", "For example:", "", "```", f"ssh admin@HOST '{words}'", "```"]
    return "\n".join(lines) + "\n"


def _argument(one: Parameter) -> str:
    name = one.option if one.kind in {"option", "flag"} else one.help.metavar or one.name.upper()
    return f"| `{_cell(name)}` | {_cell(one.help.text)} | {_cell(_values(one))} |"


def _values(one: Parameter) -> str:
    if one.choices:
        return ", ".join(f"`{choice}`" for choice in one.choices)
    if one.kind == "flag":
        return "no value"
    least, most = one.help.least, one.help.most
    if least is None and most is None:
        return f"`{one.help.metavar}`" if one.kind == "option" and one.help.metavar else ""
    return f"{least or 0:g} {'up' if most is None else f'to {most:g}'}"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _example(item: Command) -> str:
    """Give a line of the batch form: what is needed, and the first option."""
    words = [word if not is_place(word) else word.capitalize() for word in item.words]
    words += [one.metavar for one in item.further if one.kind in {"positional", "rest"} and one.required]
    option = next((one for one in item.further if one.kind in {"option", "flag"}), None)
    if option is not None:
        words.append(option.option)
    if option is not None and option.kind == "option":
        words.append(option.choices[0] if option.choices else _EXAMPLE_WORDS.get(option.metavar, option.metavar))
    return " ".join(words)


if __name__ == "__main__":
    sys.stderr.write("the commands that edit come from the models: python -m daemons.document DIR\n")
    sys.exit(EX_USAGE)
