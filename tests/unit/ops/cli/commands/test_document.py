"""showconfig, saveconfig, loadconfig, resetconfig, rollbackconfig as one who types them meets them."""

import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ops.cli.account import Caller, Role
from ops.cli.commands import registry
from ops.cli.execute import Executor, Result, split
from ops.cli.registry import Call
from ops.cli.session import Session
from tests.support.appliance import Audit, document
from tests.support.editing import TEXT, editable, write
from tests.support.operating import Screen

ADMIN = Caller("admin", Role.ADMINISTRATOR, "192.0.2.1")
SECRET = TEXT + '\n[[smtp_user]]\nname = "post"\npassword = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g"\n'

_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFP5wrrJGausydPTD14kOP/rsXchr3RVaQqAEpm5puad"


class Machine:
    """A machine without daemons whose commands are run."""

    def __init__(self, folder: Path, text: str = TEXT) -> None:
        self.config = write(folder, text)
        self.appliance = editable(self.config)
        self.executor = Executor(registry(self.appliance.schema), self.appliance, Audit())

    async def run(self, line: str, stdin: str = "", caller: Caller = ADMIN) -> Result:
        async def read() -> bytes:
            return stdin.encode()

        call = Call(self.appliance, caller, self.executor.registry, read)
        return await self.executor.batch(call, split(line))

    async def typed(self, *lines: str) -> str:
        screen = Screen(*lines)
        await Session(self.executor, ADMIN, screen, idle_s=60).run()
        return screen.shown


@pytest.fixture
def esa(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_showconfig_shows_the_hidden_listener_and_no_secret(run: Any) -> None:
    result = await run("showconfig")
    shown = tomllib.loads(result.output)
    assert shown["listener"][-1] == {"name": "cpq_listener", "kind": "cpq", "address": "127.0.1.1", "port": 7025}
    assert shown["directory"] == {"bind_password": "*****", "url": "ldap://x"}
    assert "hunter2" not in result.output


async def test_part_of_a_document_is_loaded_from_standard_input(esa: Machine) -> None:
    loaded = await esa.run("loadconfig -", "[dns]\ntimeout_s = 7\n")
    assert loaded.output.splitlines() == [
        "Values have been loaded: dns.",
        'Be sure to run "commit" to make these settings active.',
    ]
    assert "timeout_s = 7" not in esa.config.read_text()
    shown = await esa.run("showconfig --pending")
    assert tomllib.loads(shown.output)["dns"] == {"timeout_s": 7}
    assert tomllib.loads(shown.output)["listener"][1]["name"] == "OutboundMail"
    done = document(await esa.run("commit --json"))
    assert done["committed"]
    assert esa.config.read_text() == TEXT + "\n[dns]\ntimeout_s = 7\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[dns]\ntimeout_s = 0\n[nothing]\n", "dns.timeout_s: must be greater than 0"),
        ("[dns]\ntimeout_s = 0\n[nothing]\n", "nothing: unknown key"),
        ("[dns\n", "not valid TOML"),
        (
            '[[smtp_user]]\nname = "a"\npassword = "*****"\n',
            "masked passphrases (*****) and cannot be loaded: smtp_user[1]",
        ),
    ],
    ids=["bound", "unknown section", "no TOML", "masked"],
)
async def test_what_cannot_be_is_not_loaded(esa: Machine, text: str, reason: str) -> None:
    refused = await esa.run("loadconfig -", text)
    assert refused.status == 65
    assert reason in refused.error
    assert (await esa.run("showchanges")).output == "There are no uncommitted changes."


@pytest.mark.parametrize(
    "text",
    ["x = " + "9" * 5000, "x = " + "[" * 5000 + "]" * 5000, ".".join("a" * 3000) + " = 1"],
    ids=["digits", "nested", "dotted"],
)
async def test_a_document_that_is_meant_to_hurt_is_a_fault_and_no_incident(esa: Machine, text: str) -> None:
    refused = await esa.run("loadconfig -", text)
    assert (refused.status, refused.error.partition(":")[0]) == (65, "not valid TOML")
    imported = await esa.run("listenerconfig import -", text)
    assert (imported.status, imported.error.partition(":")[0]) == (65, "no TOML")


async def test_a_document_without_an_administrator_is_not_loaded_over_one_that_has_one(tmp_path: Path) -> None:
    """It was, and the commit locked everybody out."""
    user = '\n[[user]]\nname = "ann"\nrole = "{role}"\nkeys = ["' + _KEY + '"]\n'
    esa = Machine(tmp_path, TEXT + user.format(role="administrator"))
    refused = await esa.run("loadconfig -", user.format(role="operator"))
    assert (refused.status, "no administrator could log in" in refused.error) == (65, True)
    assert (await esa.run("loadconfig -", user.format(role="administrator"))).status == 0


async def test_a_pipe_a_device_and_a_link_are_no_files_to_load(esa: Machine) -> None:
    """A pipe held a thread of the console for good."""
    folder = esa.config.parent / "configuration"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("/dev/zero")
    assert [(await esa.run(f"loadconfig {name}")).status for name in ("pipe", "link")] == [66, 66]


async def test_a_configuration_saved_with_passwords_is_for_administrators(tmp_path: Path) -> None:
    """An operator could have it read to him, by an import that named each line as a fault, and write over it."""
    esa = Machine(tmp_path, SECRET)
    saved = document(await esa.run("saveconfig --plain --json"))["file"]
    path = tmp_path / "configuration" / saved
    text = path.read_text()
    operator = Caller("op", Role.OPERATOR)
    for line in (f"filters import {saved}", f"aliasconfig import {saved}"):
        refused = await esa.run(line, caller=operator)
        assert (refused.status, "$argon2id" in refused.error + refused.output) == (77, False), line
    assert (await esa.run(f"filters export {saved}", caller=operator)).status == 77
    assert path.read_text() == text
    assert (await esa.run(f"loadconfig {saved}")).status == 0


async def test_the_name_of_a_saved_file_is_plain_whatever_the_host_is_called(tmp_path: Path) -> None:
    esa = Machine(tmp_path, TEXT.replace('hostname = "', 'hostname = "../../', 1))
    saved = document(await esa.run("saveconfig --json"))
    assert Path(saved["path"]).parent == tmp_path / "configuration"
    assert Path(saved["path"]).exists()


async def test_only_files_of_the_configuration_directory_are_loaded(esa: Machine) -> None:
    assert (await esa.run("loadconfig ../gatepost.toml")).status == 64
    assert (await esa.run("loadconfig nothing.toml")).status == 66


async def test_a_saved_file_is_loaded_again_unless_it_is_masked(tmp_path: Path) -> None:
    esa = Machine(tmp_path, SECRET)
    masked = document(await esa.run("saveconfig --json"))
    assert "argon2id" not in Path(masked["path"]).read_text()
    refused = await esa.run(f"loadconfig {masked['file']}")
    assert "saveconfig --plain" in refused.error
    plain = document(await esa.run("saveconfig --plain --json"))
    assert Path(plain["path"]).stat().st_mode & 0o777 == 0o600
    assert Path(plain["path"]).read_text() == SECRET
    loaded = await esa.run(f"loadconfig {plain['file']}")
    assert loaded.output == "These are the values that are there already; nothing was changed."


async def test_a_configuration_is_pasted_and_committed_in_dialogues(esa: Machine) -> None:
    shown = await esa.typed("loadconfig", "1", "[dns]", "timeout_s = 7", ".", "commit", "faster names", "", "exit")
    assert "1. Paste via CLI\n2. Load from file\n[1]> 1\n" in shown
    assert "Values have been loaded: dns." in shown
    assert "Please enter some comments describing your changes:\n[]> faster names\n" in shown
    assert "\nDo you want to save the current configuration for rollback? [Y]> \n" in shown
    assert "\nChanges committed: Sun Nov 22 02:21:02 2026 UTC\n" in shown
    assert tomllib.loads(esa.config.read_text())["dns"] == {"timeout_s": 7}


async def test_exit_warns_once_of_what_is_not_committed(esa: Machine) -> None:
    await esa.run("loadconfig -", "[dns]\ntimeout_s = 7\n")
    shown = await esa.typed("exit", "exit", "showchanges")
    assert shown.count("There are uncommitted changes") == 1
    assert "showchanges" not in shown


async def test_nothing_is_cleared_without_a_yes(esa: Machine) -> None:
    await esa.run("loadconfig -", "[dns]\ntimeout_s = 7\n")
    assert "Changes cleared" not in await esa.typed("clear", "n")
    assert "Changes cleared." in await esa.typed("clear", "")
    assert (await esa.run("clearchanges")).output == "There are no changes to clear."


async def test_reset_keeps_who_the_machine_is_and_how_one_gets_in(tmp_path: Path) -> None:
    esa = Machine(tmp_path, TEXT + "\n[console]\nport = 2222\n\n[dns]\ntimeout_s = 7\n")
    reset = document(await esa.run("resetconfig --json"))
    assert reset == {"sections": ["listener", "dns"], "kept": ["appliance", "console"]}
    await esa.run("commit")
    found = tomllib.loads(esa.config.read_text())
    assert {name: value for name, value in found.items() if value} == {
        "appliance": {"role": "esa", "serial": "42AB-CD", "hostname": "esa.example.test"},
        "console": {"port": 2222},
    }


async def test_one_goes_back_to_a_version(esa: Machine) -> None:
    for seconds in (7, 8):
        await esa.run("loadconfig -", f"[dns]\ntimeout_s = {seconds}\n")
        await esa.run(f"commit seconds {seconds}")
    listed = document(await esa.run("rollbackconfig list --json"))["versions"]
    assert [(one["number"], one["comment"]) for one in listed] == [
        (3, "seconds 8"),
        (2, "seconds 7"),
        (1, "found in gatepost.toml"),
    ]
    newest = (await esa.run("commitdetail")).output
    assert newest.startswith("Version 3 committed at ")
    assert 'by admin from 192.0.2.1 with comments: "seconds 8".' in newest
    assert "timeout_s: 7 -> 8" in newest
    assert "timeout_s: " not in (await esa.run("commitdetail 1")).output
    back = await esa.run("rollbackconfig 2")
    assert back.output.splitlines()[0] == "Reverted to version 2: dns."
    assert tomllib.loads(esa.config.read_text())["dns"]["timeout_s"] == 8
    shown = await esa.typed("rollbackconfig", "1", "y", "y")
    assert "Changes committed:" in shown
    assert esa.config.read_text() == TEXT
    assert (await esa.run("rollbackconfig 99")).status == 66


async def test_the_last_ten_versions_are_offered(esa: Machine) -> None:
    for seconds in range(2, 14):
        await esa.run("loadconfig -", f"[dns]\ntimeout_s = {seconds}\n")
        await esa.run("commit")
    listed = document(await esa.run("rollbackconfig list --json"))["versions"]
    assert [one["number"] for one in listed] == list(range(13, 3, -1))


async def test_without_the_file_of_the_configuration_that_is_what_is_told(esa: Machine) -> None:
    assert (await esa.run("loadconfig -", "[dns]\ntimeout_s = 7\n")).status == 0
    esa.config.unlink()
    refused = await esa.run("commit")
    assert (refused.status, "gatepost.toml: cannot be read: No such file" in refused.error) == (78, True)
