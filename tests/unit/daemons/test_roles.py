"""The rights of all commands against the table of roles in docs/console.md."""

import re
from pathlib import Path

from daemons.document import every_command
from ops.cli.account import ADMINISTRATORS, Role
from ops.cli.registry import Command

PAGE = Path(__file__).parents[3] / "docs" / "console.md"
LOOKING = {"list", "print", "detail", "status", "settings", "verify", "headers", "listener", "probe", "export"}


def runnable() -> list[Command]:
    return [item for item in every_command().all() if item.run is not None]


def named_in_the_row_of_administrators() -> set[str]:
    row = re.search(r"^\| administrator \|(.*)\|$", PAGE.read_text(), re.M)
    assert row is not None
    return set(re.findall(r"`([a-z]+)`", row[1]))


def test_the_table_names_what_only_administrators_change() -> None:
    families = named_in_the_row_of_administrators()
    alone = {item.words[0] for item in runnable() if item.roles == ADMINISTRATORS}
    assert alone == families
    changing = [item for item in runnable() if item.words[0] in families and item.words[-1] not in LOOKING]
    assert [item.name for item in changing if item.roles != ADMINISTRATORS] == []


def test_administrators_run_all_but_supports_shell() -> None:
    assert [item.name for item in runnable() if Role.ADMINISTRATOR not in item.roles] == ["shell"]


def test_support_reaches_no_user_and_no_secret() -> None:
    closed = {"userconfig", "sshconfig", "passwd", "totp", "saveconfig", "mailconfig", "commit", "loadconfig"}
    assert [item.name for item in runnable() if item.words[0] in closed and Role.SUPPORT in item.roles] == []


def test_guests_change_nothing_but_what_is_their_own() -> None:
    writing = {"new", "edit", "delete", "clear", "import", "move", "setup", "release", "pause", "resume", "commit"}
    writing |= {"suspend", "commit", "clear", "loadconfig", "start", "stop", "unlock", "kill"}
    assert [item.name for item in runnable() if Role.GUEST in item.roles and set(item.words[-1:]) & writing] == []
