"""What a bastion's operator sees of appliances and engineers."""

import base64
from typing import Any

from core.drawing import END
from core.errors import EX_UNAVAILABLE, GatepostError
from ops.cli.account import LOCAL
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.registry import Call
from tests.support.appliance import NOW, Audit, Daemons, document, machine

_TUNNELS = {
    "tunnels": [
        {
            "serial": "42ab-cd",
            "online": True,
            "since": NOW - 60,
            "last_seen_at": NOW,
            "source": "192.0.2.7:40112",
            "port": 443,
        }
    ],
    "away": ["77ef-01"],
}
_VISIT = {
    "id": "0123456789abcdef",
    "engineer": "bob",
    "case": "SR7",
    "key_id": "bob@SR7",
    "serial": "42ab-cd",
    "mode": "recorded",
    "command": "",
    "source": "198.51.100.4",
    "since": NOW,
}


async def test_tunnels_shows_the_connected_and_the_enrolled_that_are_away(run: Any, daemons: Daemons) -> None:
    async with daemons.up(bastion={"tunnels": _TUNNELS}):
        lines = (await run("tunnels", role="bastion")).output.splitlines()
        assert document(await run("tunnels --json", role="bastion")) == _TUNNELS
    assert " ".join(lines[1].split()) == "42ab-cd online 22 Nov 02:20 22 Nov 02:21 192.0.2.7:40112 to port 443"
    assert lines[2].split() == ["77ef-01", "away", "-", "-", "-"]


async def test_a_bastion_without_appliances_says_how_they_come(run: Any, daemons: Daemons) -> None:
    async with daemons.up(bastion={"tunnels": {"tunnels": [], "away": []}}):
        assert "gatepost bastion enroll" in (await run("tunnels", role="bastion")).output


async def test_sessions_names_engineer_case_and_appliance(run: Any, daemons: Daemons) -> None:
    async with daemons.up(bastion={"sessions": {"sessions": [_VISIT]}}):
        line = (await run("sessions", role="bastion")).output.splitlines()[1]
    assert line.split() == (
        ["012345", "bob", "SR7", "42ab-cd", "22", "Nov", "02:21", "198.51.100.4", "recorded", "console"]
    )


async def test_piped_sessions_of_long_names_were_wider_than_a_terminal(run: Any, daemons: Daemons) -> None:
    long = {
        **_VISIT,
        "engineer": "bartholomew.longname",
        "case": "SR2026-1122-00017",
        "serial": "564d1122334455667788-aabbccddeeff",
        "source": "2001:db8:1234:5678:9abc:def0:1234:5678",
        "command": "showconfig; mailconfig; status detail",
    }
    async with daemons.up(bastion={"sessions": {"sessions": [_VISIT, long]}}):
        shown = (await run("sessions", role="bastion")).output
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "bob" in shown
    assert "recorded" in shown


async def test_terminate_says_whose_session_was_ended_and_sends_the_reason(run: Any, daemons: Daemons) -> None:
    asked: list[dict[str, Any]] = []

    async def terminate(args: dict[str, Any]) -> dict[str, Any]:
        asked.append(dict(args))
        return {"terminated": _VISIT["id"], **_VISIT}

    async with daemons.up(bastion={"terminate": terminate}):
        shown = await run("terminate 0123 --reason 'done for today'", role="bastion")
    assert shown.output == "Session 012345 of bob on 42ab-cd was ended."
    assert (asked[0]["id"], asked[0]["reason"]) == ("0123", "done for today")


async def test_watch_draws_what_comes_and_leaves_out_what_acts_on_the_watcher(daemons: Daemons, audit: Audit) -> None:
    answers = [
        {"watch": "t", "id": _VISIT["id"], "frames": [["r", _b64(b"80x24")], ["o", _b64(b"esa> ")]], "ended": ""},
        {"watch": "t", "id": _VISIT["id"], "frames": [["o", _b64(b"\x1b]0;evil\x07ls")]], "ended": "session ended"},
    ]
    asked: list[Any] = []

    async def watch(args: dict[str, Any]) -> dict[str, Any]:
        asked.append(args.get("watch"))
        return answers[len(asked) - 1]

    parts: list[str] = []
    executor = Executor(registry(), machine(daemons.run, role="bastion"), audit)
    call = Call(executor.appliance, LOCAL, executor.registry, draw=parts.append, width=80)
    async with daemons.up(bastion={"watch": watch}):
        result = await executor.batch(call, ["watch", "0123"], 80)
    assert asked == [None, "t"]
    assert "".join(parts) == f"esa> ls{END}\n"
    assert result.output == "Session 012345: session ended."


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def test_a_session_that_is_not_there_is_not_taken_for_a_daemon_that_is_not_there(
    daemons: Daemons, run: Any
) -> None:
    async def unknown(args: dict[str, Any]) -> Any:
        raise GatepostError("there is no session zzz; `sessions` lists those there are", EX_UNAVAILABLE)

    async with daemons.up(bastion={"terminate": unknown}):
        result = await run("terminate zzz", role="bastion")
    assert (result.status, "there is no session zzz" in result.error) == (69, True)


async def test_a_bastion_that_is_down_and_an_appliance_say_so(run: Any) -> None:
    assert "bastion is not running" in (await run("tunnels", role="bastion")).error
    assert (await run("sessions", role="esa")).status == 77
