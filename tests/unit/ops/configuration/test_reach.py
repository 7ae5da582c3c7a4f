"""What of the machine's disk, and which programs, a configuration may be made to name, and by whom."""

from pathlib import Path

import pytest

from ops.cli.account import Caller, Role
from tests.support.operating import Operating

OPERATOR = Caller("op", Role.OPERATOR)


@pytest.fixture
def esa(tmp_path: Path) -> Operating:
    (tmp_path / "configuration").mkdir()
    (tmp_path / "configuration" / "mine.txt").write_text("user@example.com\n")
    (tmp_path / "configuration" / "saved.toml").write_text("secret@example.com\n")
    (tmp_path / "configuration" / "saved.toml").chmod(0o600)
    (tmp_path / "configuration" / "link").symlink_to("/etc/passwd")
    return Operating(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "gatepost.toml",
        "configuration/../gatepost.toml",
        "configuration/saved.toml",
        "configuration/link",
    ],
)
async def test_an_operator_does_not_choose_which_files_are_read(esa: Operating, name: str) -> None:
    """The faults of such a file were shown to him line by line, and a footer was mailed to him."""
    for line in (f"unsubscribe setup --file {name}", f"textconfig new leak --kind disclaimer --file {name}"):
        refused = await esa.ran(line, OPERATOR)
        assert (refused.status, f".file = '{name}': administrators only" in refused.error) == (77, True), line
    assert not esa.appliance.editing("op").pending


async def test_an_operator_does_not_choose_which_programs_are_run(esa: Operating) -> None:
    exported = (await esa.ran("listenerconfig print", OPERATOR)).output
    text = exported.replace("[[listener]]\n", '[[listener]]\nhandler = "os:abort"\n', 1)
    refused = await esa.ran("listenerconfig import -", OPERATOR, text.encode())
    assert (refused.status, "listener.handler = 'os:abort'" in refused.error) == (77, True)
    assert (await esa.ran("listenerconfig import -", OPERATOR, exported.encode())).status == 0


async def test_files_that_all_may_read_and_what_an_administrator_chose_are_left_to_operators(esa: Operating) -> None:
    assert (await esa.ran("unsubscribe setup --file configuration/mine.txt", OPERATOR)).status == 0
    assert (await esa.ran("unsubscribe setup --file keys/other.txt")).status == 0
    assert (await esa.ran("commit")).status == 0
    await esa.ran("clear", OPERATOR)
    assert (await esa.ran("unsubscribe setup --action bounce", OPERATOR)).status == 0
