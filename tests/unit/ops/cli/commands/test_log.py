"""grep, tail, findevent and rollovernow: dialogues as an operator sees them, batch forms, rights, bounds."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from core.config.section import LogSection
from core.log.book import Logs
from core.log.config import LogSubscriptionSection, subscriptions_of
from core.log.file import LogFile, saved_files
from ops.cli.account import LOCAL, Caller, Role
from ops.cli.registry import Call
from tests.support.appliance import document
from tests.support.golden import same_as_golden
from tests.support.operating import Operating
from tests.support.waiting import until

GOLDEN = Path(__file__).parent / "golden"
LINES = [
    "Start MID 11 ICID 7",
    "MID 11 ICID 7 From: <ann@example.test>",
    'MID 11 Subject "one \x1b[31mred\x07"',
    "MID 11 rewritten to MID 12 by add-footer",
    "Start MID 20 ICID 7",
    "MID 20 ICID 7 From: <Anna@example.test>",
    'MID 20 Subject "two"',
    "MID 12 queued for delivery",
    "Message finished MID 12 done",
]
GUEST = Caller("gail", Role.GUEST)


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    rows = [
        LogSubscriptionSection(name="watch", type="injection_debug", clients=("192.0.2.7",)),
        LogSubscriptionSection(name="away", type="mail", retrieval="syslog", host="192.0.2.9"),
    ]
    logs = Logs(subscriptions_of(tmp_path / "log", LogSection(), rows), "", key=tmp_path / "push_ed25519")
    (mail,) = (one for one in logs.all() if one.name == "mail_logs")
    file = LogFile(mail.path)
    for at in (0, 4):
        file.write("".join(f"Sun Nov 22 02:21:02 2026 Info: {line}\n" for line in LINES[at : at + 4 + at]).encode())
        if not at:
            file.roll()
    return Operating(tmp_path, logs=logs)


async def test_grep_asks_for_log_expression_and_how(machine: Operating) -> None:
    shown = await machine.talked("grep", "9", "5", "mid 20", "", "", "", "y")
    same_as_golden(GOLDEN / "grep-dialogue.txt", shown)


async def test_grep_finds_lines_in_saved_files_too_and_shows_no_controls(machine: Operating) -> None:
    found = document(await machine.ran("grep -i SUBJECT mail_logs --json"))
    assert [line.partition(" Info: ")[2] for line in found["lines"]] == [
        LINES[2],
        'MID 20 Subject "two"',
    ]
    assert found["truncated"] is False
    assert r"one \x1b[31mred\x07" in (await machine.talked("grep subject -i mail_logs"))
    short = document(await machine.ran("grep -v -e Subject mail_logs --limit 2 --json"))
    assert (len(short["lines"]), short["truncated"]) == (2, True)


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("grep (x mail_logs", 65, "the expression, character 1"),
        ("grep x", 64, "grep REGEX LOG"),
        ("grep x nolog", 66, "no log 'nolog'; there are: away, bounce_logs"),
        ("grep -z x mail_logs", 64, "unknown option -z"),
        ("findevent mid abc", 65, "'abc' is not a MID"),
        ("findevent from nobody", 66, "no message was found"),
        ("tail nolog", 66, "no log 'nolog'"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(
    machine: Operating, line: str, status: int, reason: str
) -> None:
    result = await machine.ran(line)
    assert (result.status, reason in result.error) == (status, True), result.error


async def test_those_who_look_on_read_neither_debug_nor_audit_logs(machine: Operating) -> None:
    assert (await machine.ran("grep Start mail_logs", GUEST)).status == 0
    for name in ("watch", "cli_logs"):
        assert (await machine.ran(f"grep x {name}", GUEST)).status == 77
        assert (await machine.ran(f"tail {name}", GUEST)).status == 77
    assert (await machine.ran("rollovernow mail_logs", GUEST)).status == 77


async def test_findevent_lets_one_of_several_messages_be_chosen(machine: Operating) -> None:
    shown = await machine.talked("findevent", "1", "ann", "", "", "1", "1")
    same_as_golden(GOLDEN / "findevent-dialogue.txt", shown)


async def test_findevent_follows_a_message_as_a_document(machine: Operating) -> None:
    found = document(await machine.ran("findevent mid 12 --json"))
    assert [(event["mid"], event["related"]) for event in found["events"]] == [("12", ["11"])]
    assert len(found["events"][0]["lines"]) == 6
    assert (await machine.ran("findevent from ANN --sensitive")).status == 66
    assert document(await machine.ran("findevent from ann --current --json"))["matched"] == 1


async def test_rollovernow_begins_new_files_and_says_where_nothing_was(machine: Operating) -> None:
    (mail,) = (one for one in machine.appliance.logs.all() if one.name == "mail_logs")  # type: ignore[union-attr]
    found = document(await machine.ran("rollovernow mail_logs --json"))
    assert [row["log"] for row in found["rolled"]] == ["mail_logs"]
    assert len(saved_files(mail.path)) == 2
    assert "mail_logs" in document(await machine.ran("rollovernow --json"))["empty"]


async def test_tail_shows_what_is_there_and_what_comes_through_a_roll_over(machine: Operating) -> None:
    shown: list[str] = []
    (mail,) = (one for one in machine.appliance.logs.all() if one.name == "mail_logs")  # type: ignore[union-attr]
    call = replace(Call(machine.appliance, LOCAL, machine.executor.registry), show=shown.append)
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        task = group.create_task(machine.executor.batch(call, ["tail", "mail_logs", "--lines", "1"]))
        await until(lambda: len(shown) >= 2)
        file = LogFile(mail.path)
        file.write(b"new one\n")
        file.roll()
        file.write(b"new two\n")
        await until(lambda: "new two" in shown)
        task.cancel()
    assert [line.rpartition(" Info: ")[2] for line in shown] == [
        "Message finished MID 12 done",
        "Press Ctrl-C to stop.",
        "new one",
        "new two",
    ]
    assert document(await machine.ran("tail mail_logs -n 1 --json"))["lines"] == ["new two"]
