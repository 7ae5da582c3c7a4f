"""docs/remote-access.md names what there is: every verdict, every command, and no command that does not exist."""

import argparse
import re
from pathlib import Path

from daemons.support.commands import add_arguments
from ops.cli.commands import registry
from tunnel.appliance import verdict

PAGE = (Path(__file__).parents[2] / "docs" / "remote-access.md").read_text(encoding="utf-8")


def bastion_commands() -> set[str]:
    """Give the verbs of `gatepost bastion`, with those below them."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return _below(parser)


def _below(parser: argparse.ArgumentParser) -> set[str]:
    found = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                below = _below(one)
                found |= {f"{name} {word}" for word in below} if below else {name}
    return found


def test_every_verdict_of_a_port_is_explained() -> None:
    rows = re.search(r"\| verdict \|.*?\n\n", PAGE, re.DOTALL)
    assert rows is not None
    explained = {
        name for row in rows[0].strip().splitlines()[2:] for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])
    }
    known = {one.name for one in vars(verdict).values() if isinstance(one, verdict.Verdict)}
    assert explained == known


def test_every_command_of_the_administrator_is_named_and_no_other() -> None:
    named = set(re.findall(r"techsupport ([a-z]+)", PAGE))
    commands = {item.name.split()[1] for item in registry().all() if item.name.startswith("techsupport ")}
    # approve, refuse, watch and kill share a row with one another.
    assert named | set(re.findall(r"`(refuse|kill) ID`", PAGE)) == commands


def test_every_command_of_support_that_is_named_exists() -> None:
    commands = bastion_commands()
    for words in re.findall(r"gatepost bastion ([a-z-]+(?: [a-z]+)?)", PAGE):
        assert words in commands or words.split()[0] in commands, words
