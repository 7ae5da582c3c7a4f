"""The words of the executable as a tree: subcommands, the operator commands under `cli`, options and their values.

Made from the argument parsers and the registry, so that completion and manual pages cannot say what there is not.
Used by `completion` and `manual`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

from daemons.document import every_command
from daemons.gatepost import parser
from ops.cli.registry import Command, is_place

ANY = "*"
"""In a path: whatever stands in the place of a name."""
FILE = ("FILE",)
"""The choices of an option that takes a file or folder."""
_CLI = "cli"
_PATHS = frozenset({"FILE", "DIR", "PATH"})


@dataclass
class Node:
    """One place in a command line: what may follow it."""

    text: str = ""
    children: dict[str, "Node"] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    """Words that may follow and lead no further, with what they mean: choices."""
    options: dict[str, "Option"] = field(default_factory=dict)

    def walk(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], "Node"]]:
        """Give this node and all below it, with their paths."""
        yield path, self
        for word, child in self.children.items():
            yield from child.walk((*path, word))

    def at(self, word: str) -> "Node":
        """Give the child of that word, made if it is not there."""
        return self.children.setdefault(word, Node())


@dataclass(frozen=True)
class Option:
    """One option."""

    text: str
    value: str = ""
    """How its value is called; '' = it takes none."""
    choices: tuple[str, ...] = ()


def grammar() -> Node:
    """Give the whole tree."""
    root = _of_parser(parser(None), "")
    for item in every_command().all():
        _put(root.at(_CLI), item)
    return root


def _of_parser(found: argparse.ArgumentParser, text: str) -> Node:
    node = Node(text)
    for action in found._actions:
        if isinstance(action, argparse._SubParsersAction):
            about = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                node.children[name] = _of_parser(below, about.get(name, below.description or ""))
        elif action.option_strings:
            for flag in action.option_strings:
                node.options[flag] = _option(action)
        elif action.choices:
            node.words.update({str(choice): action.help or "" for choice in action.choices})
    return node


def _option(action: argparse.Action) -> Option:
    text = (action.help or "").replace("%%", "%")
    if action.nargs == 0:
        return Option(text)
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(str(choice) for choice in action.choices or ())
    is_path = value in _PATHS or getattr(action.type, "__name__", "") == "Path"
    return Option(text, value, choices or (FILE if is_path else ()))


def _put(cli: Node, item: Command) -> None:
    node = cli
    for word in item.words:
        node = node.at(ANY if is_place(word) else word)
    node.text = item.summary
    node.options["--json"] = Option("give the result as JSON")
    for one in item.further:
        if one.kind in {"option", "flag"}:
            node.options[one.option] = Option(one.help.text, "" if one.kind == "flag" else one.metavar, one.choices)
        elif one.kind != "secret":
            node.words.update(dict.fromkeys(one.choices, one.help.text))
