"""The administrator and the support sessions: yes, no, an end to it, watching, and what was recorded."""

import base64
from pathlib import Path
from typing import Any

import pytest

from core.drawing import END
from core.errors import GatepostError
from ops.cli.account import LOCAL, Caller, Role
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.registry import Call
from tests.support.appliance import NOW, Audit, Daemons, document, machine
from tests.support.golden import same_as_golden

GOLDEN = Path(__file__).parent / "golden"
VISIT = {"id": "4f2a", "engineer": "ana", "case": "SR12345"}
RECORDINGS = {
    "directory": "/srv/esa/recordings",
    "recordings": [
        {"file": "2026-11-22/4f2a-1.cast", "engineer": "ana", "case": "SR12345", "started_at": NOW, "size": 18_324},
        {
            "file": "2026-11-21/09cc-1.cast",
            "engineer": "ben",
            "case": "SR12340",
            "started_at": NOW - 86400,
            "size": 512,
        },
    ],
}


def frames(*texts: str) -> list[list[str]]:
    return [["o", base64.b64encode(text.encode()).decode()] for text in texts]


@pytest.mark.parametrize(
    ("line", "verb", "done"),
    [
        ("techsupport approve 4f2a", "service_approve", "approved"),
        ("techsupport refuse 4f2a", "service_refuse", "refused"),
        ("techsupport kill 4f2a", "service_kill", "ended"),
    ],
)
async def test_one_session_is_named_and_told(daemons: Daemons, run: Any, line: str, verb: str, done: str) -> None:
    async with daemons.up(console={verb: VISIT}):
        shown = await run(line)
    assert shown.output == f"Session 4f2a (ana SR12345): {done}."
    assert daemons.asked == [("console", verb, {"id": "4f2a", "by": "local from local"})]


async def test_a_session_that_is_not_there_is_said_in_one_line(daemons: Daemons, run: Any) -> None:
    gone = GatepostError("no session waits under that number; see `techsupport status`", 66)
    async with daemons.up(console={"service_approve": gone}):
        result = await run("techsupport approve zz")
    assert (result.status, result.output) == (66, "")
    assert "techsupport status" in result.error


class Watched:
    """A console with one session on it, which ends."""

    def __init__(self) -> None:
        self.answers = [
            {
                "watch": "w1",
                "frames": [["r", "ODB4MjQ="], *frames("\x1b[2J\x1b[Hesa (SERVICE)> \x1b]0;evil\x07")],
                "ended": "",
            },
            {"watch": "w1", "frames": frames("status\r\n"), "ended": ""},
            {"watch": "w1", "frames": frames("Online\r\n"), "ended": "session ended"},
        ]
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, args: dict[str, Any]) -> Any:
        self.asked.append(args)
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("width", "drawn"),
    [
        (80, "\x1b[2J\x1b[Hesa (SERVICE)> status\nOnline\n" + f"{END}\n"),
        (0, "esa (SERVICE)> status\nOnline\n"),
    ],
)
async def test_a_session_is_watched_to_its_end(daemons: Daemons, audit: Audit, width: int, drawn: str) -> None:
    watched, parts = Watched(), list[str]()
    executor = Executor(registry(), machine(daemons.run), audit)
    call = Call(executor.appliance, LOCAL, executor.registry, draw=parts.append, width=width)
    async with daemons.up(console={"service_watch": watched}):
        result = await executor.batch(call, ["techsupport", "watch", "4f2a"], width)
    assert "".join(parts) == drawn
    assert result.output == "Session 4f2a: session ended."
    assert [args.get("watch") for args in watched.asked] == [None, "w1", "w1"]


async def test_recordings_are_listed(daemons: Daemons, run: Any) -> None:
    async with daemons.up(console={"service_recordings": RECORDINGS}):
        same_as_golden(GOLDEN / "techsupport-recordings.txt", (await run("techsupport recordings")).output)
        assert document(await run("techsupport recordings --json")) == RECORDINGS
    async with daemons.up(console={"service_recordings": {"directory": "/x", "recordings": []}}):
        assert (await run("techsupport recordings")).output == "No support session was recorded here."


async def test_support_neither_approves_itself_nor_sees_what_is_recorded(run: Any) -> None:
    for line in ("approve x", "refuse x", "kill x", "watch x", "recordings"):
        for role in (Role.SUPPORT, Role.OPERATOR, Role.GUEST):
            assert (await run(f"techsupport {line}", caller=Caller("x", role))).status == 77
