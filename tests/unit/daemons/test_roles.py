"""The rights of all commands against the table of roles in docs/console.md."""

import re
from pathlib import Path

from daemons.document import every_command
from ops.cli.account import ADMINISTRATORS, Caller, Role
from ops.cli.execute import Executor
from ops.cli.registry import Call, Command
from tests.support.appliance import Audit
from tests.support.appliance import machine as appliance

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


async def test_every_command_is_refused_to_the_roles_that_may_not_run_it(tmp_path: Path) -> None:
    """By the executor, whatever the front end, and before anything of the command runs."""
    for machine in ("esa", "sma", "bastion"):
        audit = Audit()
        executor = Executor(every_command(), appliance(tmp_path, machine), audit)
        for item in runnable():
            for role in Role:
                caller = Caller("somebody", role)
                refused = role not in item.roles or machine not in item.machines
                assert bool(executor.registry.refusal(item, machine, caller)) is refused
                if refused:
                    result = await executor.batch(Call(executor.appliance, caller, executor.registry), list(item.words))
                    assert (result.status, result.output) == (77, ""), (machine, role, item.name, result)
        assert len(audit.lines) > 500
        assert all(line.endswith("status 77") for line in audit.lines)
