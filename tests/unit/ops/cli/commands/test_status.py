"""`status` merges the daemons' figures, survives a dead one, and looks as it always did."""

from pathlib import Path
from typing import Any

import pytest

from core.errors import GatepostError
from ops.cli.appliance import Answer
from ops.cli.execute import Result
from ops.status import system_state
from tests.support.appliance import NOW, Daemons, document
from tests.support.golden import same_as_golden

GOLDEN = Path(__file__).parent / "golden"


def reading(n: int) -> dict[str, int]:
    return {"reset": n, "uptime": n * 10, "lifetime": n * 100}


def gateway(messages: int, mid: int, state: str = "Online") -> dict[str, Any]:
    return {
        "state": state,
        "up_since_at": NOW - 90061,
        "counters": {"inj_msgs": reading(messages), "message_id": {"lifetime": mid}},
        "rates": {"inj_msgs": {"1m": 60 * messages, "5m": 12 * messages, "15m": 4 * messages}},
        "gauges": {"conn_in": 2, "msgs_in_work_queue": 1, "ram_utilization": 10 + messages},
    }


QUEUE = {
    "state": "Online",
    "oldest_message_at": NOW - 694861,
    "counters": {"completed_recips": reading(12345), "delivered_recips": reading(12000)},
    "gauges": {"active_recips": 7, "conn_out": 3, "kbytes_used": 4096, "kbytes_free": 71303168},
}
LISTENER = {"state": "listening", "connections": 1}


async def test_figures_are_added_up_and_ids_and_percentages_are_not(daemons: Daemons, run: Any) -> None:
    fakes = {"gateway-0": {"status": gateway(1, 100)}, "gateway-1": {"status": gateway(2, 900)}}
    async with daemons.up(**fakes, delivery_queue={"status": QUEUE}, cpq_listener={"status": LISTENER}):
        found = document(await run("status --json"))
    assert found["state"] == "Online"
    assert found["counters"]["inj_msgs"] == reading(3)
    assert found["counters"]["message_id"]["lifetime"] == 900
    assert found["rates"]["inj_msgs"] == {"1m": 180, "5m": 36, "15m": 12}
    assert (found["gauges"]["conn_in"], found["gauges"]["ram_utilization"]) == (5, 12)
    assert set(found["daemons"].values()) == {"running"}


async def test_counters_that_nobody_has_counted_yet_stand_in_the_document(daemons: Daemons, run: Any) -> None:
    fakes = {"gateway-0": {"status": gateway(1, 100)}}
    async with daemons.up(**fakes, delivery_queue={"status": QUEUE}, cpq_listener={"status": LISTENER}):
        found = document(await run("status --json"))
    assert found["counters"]["soft_bounced_evts"] == reading(0)
    assert found["counters"]["5xx_hard_bounced_recips"] == reading(0)
    assert found["rates"]["delivered_recips"] == {"1m": 0, "5m": 0, "15m": 0}


async def test_what_only_a_dead_daemon_counts_is_not_known_instead_of_0(daemons: Daemons, run: Any) -> None:
    async with daemons.up(gateway_0={"status": gateway(1, 5)}, cpq_listener={"status": LISTENER}):
        found = document(await run("status --json"))
        page = (await run("status")).output
    assert "completed_recips" not in found["counters"]
    assert "    Completed Recipients" + f"{'-':>21}{'-':>16}{'-':>16}" in page


@pytest.mark.parametrize(("grade", "expected"), [(999, "no mail is taken"), (12, "answers wait 12 s")])
async def test_resource_conservation_is_told_on_the_short_page(
    daemons: Daemons, run: Any, grade: int, expected: str
) -> None:
    slow = gateway(1, 5)
    slow["gauges"]["resource_conservation"] = grade
    async with daemons.up(
        gateway_0={"status": slow}, delivery_queue={"status": QUEUE}, cpq_listener={"status": LISTENER}
    ):
        page = (await run("status")).output
    assert f"Resource conservation:         {expected}" in page


async def test_a_daemon_that_is_down_is_named_and_the_rest_is_shown(daemons: Daemons, run: Any) -> None:
    async with daemons.up(gateway_0={"status": gateway(1, 5)}, cpq_listener={"status": LISTENER}):
        result: Result = await run("status")
    assert result.status == 0
    assert "Daemon - delivery-queue:" in result.output
    assert (
        "down: delivery-queue is not running; start it with `gatepost run delivery-queue --config FILE`"
        in result.output
    )
    assert "System status:                 Delivery suspended" in result.output


async def test_with_no_daemon_at_all_it_fails_with_status_69(run: Any) -> None:
    result = await run("status")
    assert (result.status, result.output) == (69, "")
    assert "no daemon answers" in result.error


def answers(gateway_state: str, hidden_state: str, queue_state: str) -> list[Answer]:
    return [
        Answer("gateway-0", {"state": gateway_state}),
        Answer("cpq-listener", {"state": hidden_state}),
        Answer("delivery-queue", {"state": queue_state}),
    ]


RS, DS = "Receiving suspended", "Delivery suspended"


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("Online", "Online", "Online"), "Online"),
        ((RS, "Online", "Online"), "Online"),
        ((RS, RS, "Online"), RS),
        (("Online", "Online", DS), DS),
        ((RS, RS, DS), "Offline"),
        (("Offline", "suspended", "Offline"), "Offline"),
    ],
)
def test_receiving_counts_as_suspended_only_when_every_listener_is(states: tuple[str, str, str], expected: str) -> None:
    assert system_state(answers(*states)) == expected


def test_a_daemon_that_is_down_does_not_work() -> None:
    down = GatepostError("down", 69)
    assert system_state([Answer("gateway-0", {"state": "Online"}), Answer("delivery-queue", error=down)]) == DS


@pytest.mark.parametrize("extent", ["", "detail"])
async def test_the_page_looks_as_it_did(daemons: Daemons, run: Any, extent: str) -> None:
    fakes = {"gateway-0": {"status": gateway(1, 1520)}}
    async with daemons.up(**fakes, delivery_queue={"status": QUEUE}, cpq_listener={"status": LISTENER}):
        result = await run(f"status {extent}".strip(), width=80)
    same_as_golden(GOLDEN / f"status{extent and '-' + extent}.txt", result.output)


async def test_the_line_of_a_dead_daemon_was_longer_than_the_terminal(daemons: Daemons, run: Any) -> None:
    async with daemons.up(gateway_0={"status": gateway(1, 5)}, cpq_listener={"status": LISTENER}):
        lines = (await run("status", width=80)).output.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("Daemon - delivery-queue:       down: delivery-queue is not running") for line in lines)
