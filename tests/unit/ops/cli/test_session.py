"""A whole session on a scripted screen: prompt, dialogue, errors, Ctrl-C, leaving, idling."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ops.cli.account import LOCAL, Caller, Role
from ops.cli.commands import registry
from ops.cli.dialogue import Aborted
from ops.cli.execute import Executor
from ops.cli.session import EX_ABORTED, Session
from tests.support.appliance import Audit, Daemons, machine


class Script:
    """A console on which the lines are already typed; an exception among them is raised."""

    width = 80

    def __init__(self, *lines: str | Exception) -> None:
        self.lines = list(lines)
        self.shown = ""
        self.asked: list[str] = []

    def write(self, text: str) -> None:
        self.shown += text

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        self.asked.append(prompt)
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return line

    async def command(self, prompt: str) -> str:
        return await self.read(prompt)


Make = Callable[..., tuple[Session, Script]]


@pytest.fixture
def make(daemons: Daemons, audit: Audit) -> Make:
    def made(*lines: str | Exception, caller: Caller = LOCAL, idle_s: float = 60.0) -> tuple[Session, Script]:
        script = Script(*lines)
        executor = Executor(registry(), machine(daemons.run), audit)
        return Session(executor, caller, script, idle_s=idle_s), script

    return made


async def test_a_command_with_questions_asks_them_and_one_with_arguments_does_not(daemons: Daemons, make: Make) -> None:
    session, script = make("tophosts", "3", "tophosts conn_out", "hoststatus", "", "exit")
    async with daemons.up(delivery_queue={"tophosts": {"hosts": []}}):
        await session.run()
    assert [args["sort"] for _, _, args in daemons.asked] == ["delivered_recipients", "connections_out"]
    assert "1. Active Recipients\n2. Connections Out\n" in script.shown


async def test_a_question_for_help_begins_no_dialogue(make: Make) -> None:
    session, script = make("tophosts --help", "help tophosts", "exit")
    assert await session.run() == 0
    assert script.asked == [session.prompt] * 3
    assert script.shown.count("tophosts [") == 2


async def test_an_error_is_one_line_and_the_session_goes_on(make: Make) -> None:
    session, script = make("bogus", "status 'open", "hoststatus x", "version", "exit")
    assert await session.run() == 0
    assert "unknown command 'bogus'; `help` lists the commands\n" in script.shown
    assert "cannot read that line: no closing quotation\n" in script.shown
    assert "delivery-queue is not running; start it with `gatepost run delivery-queue --config FILE`\n" in script.shown
    assert "42AB-CD" in script.shown


async def test_ctrl_c_in_a_dialogue_discards_its_answers(daemons: Daemons, make: Make) -> None:
    session, script = make("suspend", Aborted(), "exit")
    async with daemons.up(delivery_queue={"suspend": {}}):
        await session.run()
    assert daemons.asked == []
    assert "^C\n" in script.shown


async def test_ctrl_c_breaks_off_a_command_that_hangs(daemons: Daemons, make: Make) -> None:
    started = asyncio.Event()

    async def hang(args: dict[str, Any]) -> None:
        started.set()
        await asyncio.Event().wait()

    session, _ = make()
    async with daemons.up(delivery_queue={"tophosts": hang}), asyncio.TaskGroup() as group:
        command = group.create_task(session.one(["tophosts", "conn_out"]))
        await started.wait()
        session.interrupt()
        assert await command == EX_ABORTED


async def test_a_broken_command_gets_an_incident_and_the_session_goes_on(
    daemons: Daemons, make: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    session, script = make("tophosts conn_out", "version", "exit")
    async with daemons.up(delivery_queue={"tophosts": {"hosts": "not a list"}}):
        await session.run()
    assert "tophosts: internal error, incident " in script.shown
    assert "42AB-CD" in script.shown
    assert "AttributeError" not in script.shown
    assert "AttributeError" in capfd.readouterr().err


async def test_the_session_ends_at_the_end_of_input_with_the_last_status(make: Make) -> None:
    session, _ = make("hoststatus x")
    assert await session.run() == 69


async def test_an_idle_session_ends(make: Make) -> None:
    class Silent(Script):
        async def command(self, prompt: str) -> str:
            await asyncio.Event().wait()
            raise AssertionError

    session, _ = make(idle_s=0.01)
    silent = Silent()
    session._screen.screen = silent
    await session.run()
    assert "Idle for too long; the session ends." in silent.shown


async def test_support_has_its_own_prompt_and_cannot_enable_access(make: Make) -> None:
    support = Caller("service", Role.SUPPORT, "the tunnel", "ana@SR12345")
    session, script = make("techsupport tunnel", "exit", caller=support)
    await session.run()
    assert script.asked[0] == "esa.example.test (SERVICE)> "
    assert "not allowed for the role support" in script.shown


async def test_completion_follows_rights_operations_and_choices(make: Make) -> None:
    session, _ = make(caller=Caller("g", Role.GUEST))
    assert session.complete("to") == ["tophosts", "topin", "totp"]
    assert session.complete("help toph") == ["tophosts"]
    assert "suspend" not in session.complete("")
    assert session.complete("tophosts soft") == ["soft_bounces"]
    assert session.complete("showrecipients --h") == ["--host"]
    assert make()[0].complete("techsupport s") == ["sshaccess", "status"]


async def test_every_command_is_audited_with_who_what_and_status(make: Make, audit: Audit) -> None:
    support = Caller("service", Role.SUPPORT, "the tunnel", "ana@SR12345")
    session, _ = make("version", "hoststatus x\u202e", "suspend\x1b", "exit", caller=support)
    await session.run()
    assert audit.lines == [
        "CLI service (ana@SR12345) from the tunnel ran: version; status 0",
        "CLI service (ana@SR12345) from the tunnel ran: hoststatus host=x\\u202e; status 69",
        "CLI service (ana@SR12345) from the tunnel ran: suspend\\x1b; status 64",
        "CLI service (ana@SR12345) from the tunnel ran: exit; status 0",
    ]
