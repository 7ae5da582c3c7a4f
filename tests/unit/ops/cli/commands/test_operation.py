"""`deleterecipients` and its kind: asked first, followed, stopped, and told in words."""

import asyncio
from typing import Any

import pytest

from core.errors import GatepostError
from ops.cli.account import LOCAL, Caller, Role
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.line import LineScreen
from ops.cli.session import Session
from tests.support.appliance import Audit, Daemons, document, machine

DONE = {
    "id": "1",
    "action": "delete",
    "state": "done",
    "dry_run": False,
    "total": 3,
    "looked_at": 3,
    "messages": 3,
    "recipients": 4,
    "busy": 1,
    "unreported": 0,
    "to": None,
    "error": None,
}


def queue(**changes: Any) -> dict[str, Any]:
    async def begin(args: dict[str, Any]) -> dict[str, Any]:
        return {**DONE, **changes, "action": args["action"], "dry_run": args["dry_run"], "to": args.get("to")}

    return {"operate": begin}


async def test_batch_needs_a_choice_and_a_yes(daemons: Daemons, run: Any) -> None:
    for line, said in (
        ("deleterecipients --yes", "say which: --host, --sender, --mid, --filter, or --all"),
        ("deleterecipients --host a.test", "say --yes to do it, or --dry-run"),
        ("deleterecipients --host a.test --all --yes", "--all goes with no other choice"),
        ("deleterecipients --mid x --yes", "'x' is not a MID"),
        ("bouncerecipients --yes", "say which"),
        ("redirectrecipients", "HOST is missing"),
        ("releasehold --yes", "say which"),
        ("removemessage 5", "say --yes"),
        ("removemessage five --yes", "is not a MID"),
        ("delivernow", "say which"),
        ("delivernow a.test --all", "one of them only"),
    ):
        result = await run(line)
        assert result.status == 64, line
        assert said in result.error
    assert not daemons.asked


async def test_the_result_says_how_many_and_what_was_left(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue=queue()):
        result = await run("deleterecipients --host A.test. --yes")
        found = document(await run("bouncerecipients --sender <> --yes --json"))
        dry = await run("redirectrecipients mx.test:26 --dry-run")
    assert result.output.splitlines() == [
        "3 messages deleted.",
        "That is 4 recipients.",
        "1 recipient busy in active delivery: left as they are.",
    ]
    assert (found["action"], found["messages"]) == ("bounce", 3)
    assert dry.output.startswith("3 messages (4 recipients) would be redirected; nothing was changed.")
    assert [args for _, _, args in daemons.asked] == [
        {"action": "delete", "host": "a.test", "dry_run": False},
        {"action": "bounce", "sender": "", "dry_run": False},
        {"action": "redirect", "to": "mx.test:26", "dry_run": True},
    ]


@pytest.mark.parametrize("role", [Role.GUEST, Role.SUPPORT])
async def test_who_may_not_delete_mail_may_not(run: Any, role: Role) -> None:
    for line in ("deleterecipients --all --yes", "bouncerecipients --all --yes", "redirectrecipients x.test --yes"):
        assert (await run(line, caller=Caller("eve", role, "192.0.2.7"))).status == 77


async def test_a_failed_operation_says_what_was_done_before(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue=queue(state="failed", error="the queue's index cannot be written: full")):
        result = await run("deleterecipients --all --yes")
    assert (result.status, result.error) == (
        75,
        "the queue's index cannot be written: full; 3 messages were deleted before",
    )


async def dialogue(daemons: Daemons, *lines: str) -> str:
    shown: list[str] = []
    answers = list(lines)

    async def read_line() -> str:
        return answers.pop(0) + "\n" if answers else ""

    executor = Executor(registry(), machine(daemons.run), Audit())
    await Session(executor, LOCAL, LineScreen(read_line, shown.append), idle_s=60).run()
    return "".join(shown)


async def test_the_dialogue_says_how_many_before_it_asks(daemons: Daemons) -> None:
    async with daemons.up(delivery_queue=queue()):
        shown = await dialogue(daemons, "deleterecipients", "1", "a.test", "y")
        kept = await dialogue(daemons, "bouncerecipients", "3", "n")
        away = await dialogue(daemons, "redirectrecipients", "mx.test", "y")
    assert "1. By recipient host\n2. By Envelope From address\n3. All\n" in shown
    assert "3 messages with 4 recipients." in shown
    assert 'Are you sure you want to delete all messages being delivered to "a.test"? [N]>' in shown
    assert "3 messages deleted." in shown
    assert "bounced." not in kept
    assert "WARNING: a host that is not prepared" in away
    assert "4 recipients redirected." in away
    assert [(args["action"], args["dry_run"]) for _, _, args in daemons.asked] == [
        ("delete", True),
        ("delete", False),
        ("bounce", True),
        ("redirect", True),
        ("redirect", False),
    ]


async def test_breaking_off_stops_the_operation_and_says_how_far_it_came(daemons: Daemons) -> None:
    running = asyncio.Event()
    state = {"state": "running"}

    async def begin(args: dict[str, Any]) -> dict[str, Any]:
        return {**DONE, "action": "delete", **state}

    async def follow(args: dict[str, Any]) -> dict[str, Any]:
        running.set()
        await asyncio.sleep(0.01)
        return {**DONE, "action": "delete", "total": 9, **state}

    async def stop(args: dict[str, Any]) -> dict[str, Any]:
        state["state"] = "stopped"
        return {**DONE, "total": 9, **state}

    shown: list[str] = []
    executor = Executor(registry(), machine(daemons.run), Audit())
    session = Session(executor, LOCAL, LineScreen(lambda: asyncio.sleep(0, ""), shown.append), idle_s=60)
    async with daemons.up(delivery_queue={"operate": begin, "operation": follow, "operation_stop": stop}):
        task = asyncio.get_running_loop().create_task(session.one(["deleterecipients", "--all", "--yes"]))
        await running.wait()
        session.interrupt()
        assert await task == 0
    assert "3 messages deleted." in "".join(shown)
    assert "Stopped after looking at 3 of 9 messages; what was done stays done." in "".join(shown)


async def test_delivery_is_suspended_by_domain_and_as_a_whole(daemons: Daemons, run: Any) -> None:
    suspended = {"state": "Online", "hosts": ["a.test", "b.test"], "cut": 1}
    resumed = {"state": "Online", "hosts": ["b.test"], "resumed": ["a.test"]}
    async with daemons.up(delivery_queue={"suspend": suspended, "resume": resumed}):
        shown = await run("suspenddel a.test,b.test --seconds 5")
        await run("suspenddel")
        again = await run("resumedel a.test")
    assert shown.output.splitlines() == [
        "Mail delivery suspended for: a.test, b.test.",
        "1 connection did not finish in time and were closed.",
    ]
    assert again.output.splitlines() == ["Mail delivery resumed for: a.test.", "Still suspended: b.test."]
    assert [args for _, _, args in daemons.asked] == [
        {"hosts": ["a.test", "b.test"], "delay_s": 5},
        {"delay_s": 30},
        {"hosts": ["a.test"]},
    ]


async def test_counters_are_reset_in_every_daemon_that_counts(daemons: Daemons, run: Any) -> None:
    unknown = GatepostError("unknown control verb 'reset_counters'", 64)
    async with daemons.up(
        gateway_0={"reset_counters": {"reset_at": 1_795_314_062.0}},
        delivery_queue={"reset_counters": {"reset_at": 1_795_314_061.0}},
        cpq_listener={"reset_counters": unknown},
    ):
        result = await run("resetcounters")
    assert result.output == "Counters reset: Sun Nov 22 02:21:02 2026 UTC"


async def test_a_wrong_rule_or_message_number_ended_the_dialogue(daemons: Daemons) -> None:
    async def begin(args: dict[str, Any]) -> dict[str, Any]:
        if args.get("filter") == "colour":
            raise GatepostError("filter: line 1, column 1: there is no rule 'colour'", 65)
        return {**DONE, "action": args["action"], "dry_run": args["dry_run"]}

    async def message(args: dict[str, Any]) -> dict[str, Any]:
        if args["mid"] != "7":
            raise GatepostError("not here", 66)
        return {"mid": "7", "where": "delivery", "age_s": 5, "headers": "Subject: x"}

    async with daemons.up(delivery_queue={"operate": begin, "message": message}, gateway_0={"message": message}):
        shown = await dialogue(daemons, "deleterecipients", "4", "colour", "5", "x", "4", "true", "y")
        removed = await dialogue(daemons, "removemessage", "x", "8", "7", "y")
        left = await dialogue(daemons, "removemessage", "8", "", "version")
    assert "there is no rule 'colour'\nPlease select" in shown
    assert "'x' is not a MID\nPlease select" in shown
    assert "3 messages deleted." in shown
    assert "'x' is not a MID: give a number\nPlease enter the MID." in removed
    assert "MID 8 is neither in the delivery queue nor in the work queue\nPlease enter the MID." in removed
    assert "Remove this message?" in removed
    assert left.count("Please enter the MID.") == 2


async def test_a_wrong_rule_ended_the_dialogue_of_showrecipients(daemons: Daemons) -> None:
    async def listed(args: dict[str, Any]) -> dict[str, Any]:
        if args.get("filter") == "colour":
            raise GatepostError("filter: line 1, column 1: there is no rule 'colour'", 65)
        return {"recipients": [], "next": None}

    async with daemons.up(delivery_queue={"showrecipients": listed}):
        shown = await dialogue(daemons, "showrecipients", "4", "colour", "3")
    assert "there is no rule 'colour'" in shown
    assert shown.count("Please select how you would like to show messages:") == 2
    assert "No recipients are waiting for delivery." in shown


async def test_pause_and_resume_showed_the_state_of_the_work_queue_twice(daemons: Daemons) -> None:
    idle = {"paused_by": None, "paused_at": None, "reason": "", "messages": 0, "in": 0, "out": 0}
    paused = {**idle, "paused_by": "ann", "paused_at": 1_795_314_062.0, "reason": "why"}
    verbs = {"workqueue": idle, "workqueue_pause": paused, "workqueue_resume": idle}
    async with daemons.up(gateway_0=verbs):
        shown = await dialogue(daemons, "workqueue", "pause", "y", "why", "resume", "")
    assert shown.count("Paused by ann: why") == 1
    assert shown.count("Operational") == 2
