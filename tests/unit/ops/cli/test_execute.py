"""The one way to run a command: incidents, secrets, audit."""

from pathlib import Path
from typing import Annotated

import pytest

from core.errors import GatepostError
from ops.cli.account import LOCAL
from ops.cli.argument import Help, UsageProblem
from ops.cli.execute import LONGEST, Executor, split
from ops.cli.registry import Call, Document, Registry, command
from tests.support.appliance import Audit, Daemons, machine
from tests.support.operating import Operating


@command("break", "Break.")
async def break_(call: Call) -> Document:
    """Raises what nobody foresaw."""
    raise ZeroDivisionError("with /a/secret/path")


@command("whisper", "Take a secret.", render=lambda document, width: document["seen"])
async def whisper(call: Call, seed: Annotated[str, Help("the seed", secret=True)]) -> Document:
    """Gives back how long it is, in text that wants to draw on the screen."""
    return {"seen": f"{len(seed)} \x1b[2J\nDone."}


@pytest.fixture
def executor(daemons: Daemons, audit: Audit) -> Executor:
    return Executor(Registry([break_, whisper]), machine(daemons.run), audit)


def call(executor: Executor) -> Call:
    return Call(executor.appliance, LOCAL, executor.registry)


async def test_what_nobody_foresaw_is_an_incident_and_status_70(
    executor: Executor, audit: Audit, capfd: pytest.CaptureFixture[str]
) -> None:
    result = await executor.batch(call(executor), ["break"])
    assert result.status == 70
    assert "incident" in result.error
    assert "secret" not in result.error
    assert "secret" in capfd.readouterr().err
    assert audit.lines == ["CLI local from local ran: break; status 70"]


async def test_a_secret_argument_reaches_the_command_and_no_log(executor: Executor, audit: Audit) -> None:
    document = await executor.perform(call(executor), whisper, {"seed": "correct-horse"})
    assert executor.render(whisper, document, 0) == "13 \\x1b[2J\\x0aDone."
    assert audit.lines == ["CLI local from local ran: whisper seed=***; status 0"]


@pytest.mark.parametrize("words", [["correct-horse"], ["--seed", "correct-horse"], ["--seed=correct-horse"]])
async def test_no_command_line_takes_a_secret(executor: Executor, audit: Audit, words: list[str]) -> None:
    assert (await executor.batch(call(executor), ["whisper", *words])).status == 64
    assert audit.lines == ["CLI local from local ran: whisper; status 64"]


async def test_an_error_of_several_lines_becomes_one(executor: Executor) -> None:
    async def fail(call: Call) -> Document:
        raise GatepostError("first\nsecond \x1b[1m", 78)

    failing = command("fail", "Fail.")(fail)
    alone = Executor(Registry([failing]), executor.appliance, Audit())
    assert (await alone.batch(call(alone), ["fail"])).error == "first; second \\x1b[1m"


@command("count", "Count.", render=lambda document, width: f"{document['rows']} rows")
async def count(call: Call) -> Document:
    """Shows as it goes."""
    for number in range(3):
        call.show(f"row {number}")
    return {"rows": 3}


async def test_of_a_word_without_end_an_error_shows_the_beginning(executor: Executor) -> None:
    result = await executor.batch(call(executor), ["x" * 70_000])
    assert (result.status, len(result.error) < 400) == (64, True)
    assert "xxx…" in result.error


async def test_octets_that_are_no_text_are_refused_before_anything_passes_them_on(
    executor: Executor, audit: Audit
) -> None:
    for words in (["\udcff"], ["break", "\udcff"], ["break", "--json", "\udcff"]):
        result = await executor.batch(call(executor), words)
        assert (result.status, result.error) == (64, "a word of that line is not UTF-8 text")
    assert "\n".join(audit.lines).encode()


async def test_rows_are_shown_while_a_command_runs_and_never_beside_json(daemons: Daemons, audit: Audit) -> None:
    executor = Executor(Registry([count]), machine(daemons.run), audit)
    shown: list[str] = []
    watched = Call(executor.appliance, LOCAL, executor.registry, show=shown.append)
    assert (await executor.batch(watched, ["count"])).output == "3 rows"
    assert shown == ["row 0", "row 1", "row 2"]
    assert (await executor.batch(watched, ["count", "--json"])).output == '{"rows": 3}'
    assert len(shown) == 3


async def test_an_error_shows_the_options_of_a_command_only_where_there_is_room(tmp_path: Path) -> None:
    esa = Operating(tmp_path)
    many = await esa.ran("bounceconfig edit Default --speed 9")
    assert many.error.endswith("usage: bounceconfig edit PROFILE [OPTION…]; `help bounceconfig edit` lists the options")
    assert (await esa.ran("smtproutes delete")).error.endswith("usage: smtproutes delete ROUTE…")


def test_a_line_of_a_quarter_megabyte_is_not_split_for_seconds() -> None:
    assert split("a" * LONGEST) == ["a" * LONGEST]
    with pytest.raises(UsageProblem, match="at most 32768 characters"):
        split("a" * (LONGEST + 1))
