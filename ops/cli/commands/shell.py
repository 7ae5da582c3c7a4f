"""`help`, `shell`, `quit` and `exit`: the commands about the console itself."""

import textwrap
from collections.abc import Collection
from typing import Annotated

from core.errors import EX_NOPERM, GatepostError
from ops.cli.account import Role
from ops.cli.argument import Help, on_the_line
from ops.cli.commands.group import GROUPS, group_of
from ops.cli.display import columns, fitted, folded, pad, paint
from ops.cli.execute import Leave
from ops.cli.registry import Call, Command, Document, command


def _entry(item: Command) -> Document:
    return {
        "name": item.name,
        "summary": item.summary,
        "usage": item.usage,
        "details": item.details,
        "parameters": [
            {"name": one.option if one.kind in {"option", "flag"} else one.metavar, "text": one.help.text}
            for one in on_the_line(item.parameters)
        ],
        "roles": sorted(item.roles),
        "group": group_of(item.name),
    }


def render_help(document: Document, width: int) -> str:
    """List commands, or show one in full."""
    entries = document["commands"]
    if not document.get("topic"):
        alone = {entry["name"] for entry in entries}
        shown = [entry for entry in entries if _stands(entry["name"], alone)]
        listing = "\n\n".join(_group(title, shown, width) for title in GROUPS if any(_of(title, shown)))
        hint = "`help COMMAND` shows one in full, with its operations; `--json` gives a command's result as JSON."
        return f"{listing}\n\n{fitted(hint, width)}"
    return "\n\n".join(_one(entry, max(40, width or 80)) for entry in entries)


def _of(title: str, entries: list[Document]) -> list[Document]:
    return [entry for entry in entries if entry["group"] == title]


def _group(title: str, entries: list[Document], width: int) -> str:
    """List the commands of one group; all groups have names of the same width."""
    longest = max(columns(entry["name"]) for entry in entries)
    rows = [[pad(entry["name"], longest), entry["summary"]] for entry in _of(title, entries)]
    return paint(title, "bold", width) + _rows(rows, width)


def _rows(rows: list[list[str]], width: int) -> str:
    return "".join("\n" + folded(f"  {name}  ", text, width) for name, text in rows)


def _stands(name: str, alone: Collection[str]) -> bool:
    """Tell whether the list names a command: operations stand under the command whose menu has them."""
    first = name.partition(" ")[0]
    return name == first or first not in alone


def _one(entry: Document, width: int) -> str:
    texts = [entry["summary"], *([entry["details"]] if entry["details"] else [])]
    lines = _wrapped(entry["usage"], "", " " * 8, width)
    for text in texts:
        lines += _wrapped(text, " " * 4, " " * 4, width)
    for item in entry["parameters"]:
        lines += _wrapped(item["text"], f"    {item['name']:<18} ", " " * 23, width)
    lines.append(f"    Roles: {', '.join(entry['roles'])}")
    return "\n".join(lines)


def _wrapped(text: str, first: str, further: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    )


@command("help", "List the commands, or show one in full.", render=render_help)
async def help_(call: Call, words: Annotated[list[str] | None, Help("a command", "COMMAND")] = None) -> Document:
    """Only commands that the caller may run on this machine are listed. `COMMAND --help` (or `-h`) does the same."""
    visible = call.registry.visible(call.appliance.role, call.caller)
    if not words:
        return {"commands": [_entry(item) for item in visible]}
    begun = call.registry.beginning(words)
    found = [item for item in begun if item in visible]
    if not found:
        item, _ = call.registry.find(words)
        call.registry.admit(item, call.appliance.role, call.caller)
        found = [item]
    return {"topic": " ".join(words).lower(), "commands": [_entry(item) for item in found]}


def render_shell(document: Document, width: int) -> str:
    """Say that the console is back, and how the shell ended."""
    return f"The shell has ended, status {document['status']}; this is the console again."


@command("shell", "Open a login shell on this machine.", render=render_shell, roles=frozenset({Role.SUPPORT}))
async def shell(call: Call) -> Document:
    """Support only, on a terminal, and only if the administrator allowed a full shell."""
    if call.caller.shell is None:
        raise GatepostError("shell: there is no login shell here", EX_NOPERM)
    return {"status": await call.caller.shell()}


@command("quit", "End the session.")
async def quit_(call: Call) -> Document:
    """The same as `exit` and Ctrl-D."""
    raise Leave


@command("exit", "End the session.")
async def exit_(call: Call) -> Document:
    """The same as `quit` and Ctrl-D."""
    raise Leave


COMMANDS = (help_, shell, quit_, exit_)
