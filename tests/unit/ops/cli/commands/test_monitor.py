"""`rate` and `hostrate` show differences, `topin` adds up processes, `dnsstatus` adds up daemons."""

from collections.abc import Awaitable, Callable
from typing import Any

from core.errors import GatepostError
from ops.cli.account import LOCAL
from ops.cli.commands import registry
from ops.cli.execute import Executor, Result
from ops.cli.registry import Call
from tests.support.appliance import Audit, Daemons, document, machine

Answering = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def reading(n: int) -> dict[str, int]:
    return {"reset": n, "uptime": n, "lifetime": n}


def growing(step: int) -> Answering:
    """Give a `status` whose recipients grow by `step` each time."""
    turns = 0

    async def status(_: dict[str, Any]) -> dict[str, Any]:
        nonlocal turns
        turns += 1
        return {
            "state": "Online",
            "counters": {"inj_recips": reading(100 + step * turns), "completed_recips": reading(step * turns)},
            "gauges": {"conn_in": turns, "kbytes_used": 4096},
        }

    return status


async def watch(daemons: Daemons, words: list[str]) -> tuple[Result, list[str]]:
    shown: list[str] = []
    executor = Executor(registry(), machine(daemons.run), Audit())
    result = await executor.batch(Call(executor.appliance, LOCAL, executor.registry, show=shown.append), words)
    return result, "\n".join(shown).splitlines()


async def test_rate_shows_a_row_at_every_interval_with_what_was_added(daemons: Daemons) -> None:
    async with daemons.up(gateway_0={"status": growing(30)}, delivery_queue={"status": {"state": "Online"}}):
        result, shown = await watch(daemons, ["rate", "0.1", "--count", "3"])
    assert (result.status, result.output) == (0, "")
    assert max(len(line) for line in shown) <= 80
    assert shown[1].split() == ["Time", "In", "Out", "Received", "Delta", "Completed", "Delta", "K-Used"]
    rows = [line.split() for line in shown[2:]]
    assert [row[1:] for row in rows] == [
        ["1", "0", "130", "0", "30", "0", "4,096"],
        ["2", "0", "160", "30", "60", "30", "4,096"],
        ["3", "0", "190", "30", "90", "30", "4,096"],
    ]


async def test_as_a_document_rate_gives_one_row_unless_more_are_asked_for(daemons: Daemons, run: Any) -> None:
    async with daemons.up(gateway_0={"status": growing(5)}, delivery_queue={"status": {"state": "Online"}}):
        one = document(await run("rate --json"))
        two = document(await run("rate 0.1 --count 2 --json"))
    assert len(one["rows"]) == 1
    assert [row["inj_recips_delta"] for row in two["rows"]] == [0, 5]


async def test_hostrate_watches_one_destination(daemons: Daemons) -> None:
    turns = 0

    async def hoststatus(args: dict[str, Any]) -> dict[str, Any]:
        nonlocal turns
        turns += 1
        counters = {"delivered_recips": 10 * turns, "hard_bounced_recips": turns, "soft_bounced_evts": reading(7)}
        gauges = {"conn_out": 4, "active_recips": 100 - 11 * turns}
        return {"host": args["host"], "state": "up", "counters": counters, "gauges": gauges}

    async with daemons.up(delivery_queue={"hoststatus": hoststatus}):
        result, shown = await watch(daemons, ["hostrate", "Example.TEST", "0.1", "--count", "2"])
    assert result.status == 0
    assert daemons.asked[0][2] == {"host": "example.test"}
    assert shown[-1].split()[1:] == ["up", "4", "78", "-11", "10", "1", "0"]


async def test_a_host_that_is_not_known_ends_hostrate_with_one_line(daemons: Daemons) -> None:
    unknown = GatepostError("no such destination: x.test", 68)
    async with daemons.up(delivery_queue={"hoststatus": unknown}):
        result, _ = await watch(daemons, ["hostrate", "x.test"])
    assert (result.status, result.error) == (68, "no such destination: x.test")


async def test_topin_adds_up_the_gateway_processes_and_ranks(daemons: Daemons, run: Any) -> None:
    def hosts(*rows: tuple[str, str, str, int]) -> dict[str, Any]:
        names = ("host", "address", "listener", "connections")
        return {"topin": {"hosts": [dict(zip(names, row, strict=True)) for row in rows]}}

    first = hosts(("", "192.0.2.1", "InboundMail", 2), ("mx.test", "192.0.2.9", "InboundMail", 4))
    second = hosts(("one.test", "192.0.2.1", "InboundMail", 3), ("", "192.0.2.1", "OutboundMail", 1))
    async with daemons.up(gateway_0=first, gateway_1=second):
        found = document(await run("topin --json"))["hosts"]
        page = (await run("topin --limit 1")).output
    assert [(one["host"], one["address"], one["listener"], one["connections"]) for one in found] == [
        ("one.test", "192.0.2.1", "InboundMail", 5),
        ("mx.test", "192.0.2.9", "InboundMail", 4),
        ("", "192.0.2.1", "OutboundMail", 1),
    ]
    assert page.splitlines()[-1].split() == ["1", "one.test", "192.0.2.1", "InboundMail", "5"]


async def test_dnsstatus_adds_up_the_daemons(daemons: Daemons, run: Any) -> None:
    status = {"state": "Online", "counters": {"dns_requests": reading(3), "cache_hits": reading(1)}}
    async with daemons.up(gateway_0={"status": status}, delivery_queue={"status": status}):
        found = document(await run("dnsstatus --json"))["counters"]
        page = (await run("dnsstatus")).output
    assert found["dns_requests"] == reading(6)
    assert found["cache_expired"] == reading(0)
    assert page.splitlines()[3].split() == ["DNS", "Requests", "6", "6", "6"]
