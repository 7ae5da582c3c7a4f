"""Suspending and resuming: who is told what, and the hidden listener."""

from typing import Any

from tests.support.appliance import Daemons, document

VERBS = {"suspend": {}, "resume": {}}


def all_up(daemons: Daemons) -> Any:
    return daemons.up(**{"gateway-0": VERBS, "gateway-1": VERBS}, cpq_listener=VERBS, delivery_queue=VERBS)


async def test_suspend_tells_every_daemon_and_names_what_it_suspended(daemons: Daemons, run: Any) -> None:
    async with all_up(daemons):
        result = await run("suspend 7")
    assert result.output.splitlines() == [
        "Receiving suspended for InboundMail.",
        "Receiving suspended for OutboundMail.",
        "Receiving suspended for cpq_listener.",
        "Mail delivery suspended.",
    ]
    assert sorted((daemon, args["delay_s"]) for daemon, _, args in daemons.asked) == [
        ("cpq-listener", 7),
        ("delivery-queue", 7),
        ("gateway-0", 7),
        ("gateway-1", 7),
    ]


async def test_resume_undoes_it(daemons: Daemons, run: Any) -> None:
    async with all_up(daemons):
        found = document(await run("resume --json"))
    assert found["listeners"] == ["InboundMail", "OutboundMail", "cpq_listener"]
    assert found["delivery"] is True
    assert {verb for _, verb, _ in daemons.asked} == {"resume"}


async def test_one_listener_leaves_the_hidden_one_alone(daemons: Daemons, run: Any) -> None:
    async with all_up(daemons):
        result = await run("suspendlistener inboundmail")
    assert result.output == "Receiving suspended for InboundMail."
    assert {daemon for daemon, _, _ in daemons.asked} == {"gateway-0", "gateway-1"}
    assert daemons.asked[0][2] == {"listeners": ["InboundMail"], "delay_s": 30}


async def test_all_listeners_include_the_hidden_one_but_not_delivery(daemons: Daemons, run: Any) -> None:
    async with all_up(daemons):
        result = await run("resumelistener All")
    assert result.output.splitlines()[-1] == "Receiving resumed for cpq_listener."
    assert "delivery-queue" not in {daemon for daemon, _, _ in daemons.asked}


async def test_an_unknown_listener_is_status_66_and_the_known_ones_are_named(run: Any) -> None:
    result = await run("suspendlistener Nowhere")
    assert result.status == 66
    assert result.error == "no listener is called 'Nowhere'; there are: All, InboundMail, OutboundMail"


async def test_a_daemon_that_is_down_is_named_and_the_others_are_suspended(daemons: Daemons, run: Any) -> None:
    async with daemons.up(gateway_0=VERBS, delivery_queue=VERBS):
        result = await run("suspend 0")
    assert result.status == 0
    assert "Not reached: cpq-listener: cpq-listener is not running" in result.output
    assert "cpq_listener." not in result.output


async def test_with_nothing_running_it_fails(run: Any) -> None:
    assert (await run("suspend")).status == 69


async def test_transfers_of_a_management_host_are_its_hidden_listener(daemons: Daemons, run: Any) -> None:
    async with all_up(daemons):
        refused = await run("suspendtransfers")
        suspended = await run("suspendtransfers 3", role="sma")
        resumed = await run("resumetransfers", role="sma")
    assert refused.status == 77
    assert suspended.output == "Receiving suspended for cpq_listener."
    assert resumed.output == "Receiving resumed for cpq_listener."
    assert [(daemon, verb) for daemon, verb, _ in daemons.asked] == [
        ("cpq-listener", "suspend"),
        ("cpq-listener", "resume"),
    ]
