"""`tophosts` and `hoststatus`: order, pseudo hosts, layout."""

from pathlib import Path
from typing import Any

from core.errors import GatepostError
from tests.support.appliance import NOW, Daemons, document
from tests.support.golden import same_as_golden

GOLDEN = Path(__file__).parent / "golden"


def host(name: str, n: int, state: str = "up") -> dict[str, Any]:
    return {
        "host": name,
        "state": state,
        "active_recipients": n,
        "connections_out": 1,
        "delivered_recipients": 1000 - n,
        "soft_bounced": n * 2,
        "hard_bounced": 0,
    }


HOSTS = {
    "as_of": NOW,
    "hosts": [host("a.example", 5), host("down.example\x1b[2J", 50, "down"), host("the.cpq.host", 0)],
}


async def test_hosts_come_in_the_order_asked_for_and_no_more_than_twenty(daemons: Daemons, run: Any) -> None:
    many = {"as_of": NOW, "hosts": [host(f"h{n}.example", n) for n in range(30)]}
    async with daemons.up(delivery_queue={"tophosts": many}):
        by_active = document(await run("tophosts --json"))
        by_delivered = document(await run("tophosts deliv_recip --json"))
    assert [item["host"] for item in by_active["hosts"]][:2] == ["h29.example", "h28.example"]
    assert by_delivered["hosts"][0]["host"] == "h0.example"
    assert len(by_active["hosts"]) == 20
    assert daemons.asked[1][2] == {"sort": "delivered_recipients", "limit": 20}


async def test_tophosts_looks_as_it_did(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"tophosts": HOSTS}):
        result = await run("tophosts", width=80)
    same_as_golden(GOLDEN / "tophosts.txt", result.output)


STATUS = {
    "host": "b.example",
    "state": "down",
    "limiting_rule": "4 connections to this destination",
    "counters": {"soft_bounced_evts": {"reset": 3, "uptime": 3, "lifetime": 9}, "completed_recips": 12},
    "gauges": {"active_recips": 4, "pending_conn_out": 1},
    "addresses": [{"preference": 10, "addresses": ["192.0.2.1", "192.0.2.2"]}, "192.0.2.9"],
    "mx": [{"preference": 10, "ttl_s": 3144, "host": "mx1.b.example"}],
    "last_5xx": {"text": "550 5.1.1 no\r\nsuch \x1b[31muser", "at": NOW - 60, "ip": "192.0.2.1"},
    "last_tls_error": "Required - certificate expired",
    "oldest_message_at": NOW - 3600,
    "last_activity_at": NOW - 60,
}


async def test_hoststatus_looks_as_it_did(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"hoststatus": STATUS}):
        result = await run("hoststatus B.example.", width=80)
    assert daemons.asked[0][2] == {"host": "b.example"}
    same_as_golden(GOLDEN / "hoststatus.txt", result.output)


async def test_an_address_that_two_virtual_gateways_use_is_told_once(daemons: Daemons, run: Any) -> None:
    twice = [{"preference": 0, "address": "192.0.2.1", "gateway": name} for name in ("", "Bulk")]
    async with daemons.up(delivery_queue={"hoststatus": {**STATUS, "addresses": twice}}):
        result = await run("hoststatus b.example")
    assert result.output.splitlines().count("    0            192.0.2.1") == 1


async def test_the_internal_destinations_are_hosts_too_and_name_their_appliances(daemons: Daemons, run: Any) -> None:
    appliance = {"name": "42SMA", "state": "down", "active_recipients": 3, "limiting_rule": "host down"}
    shown = {**STATUS, "host": "the.cpq.host", "appliances": [appliance]}
    async with daemons.up(delivery_queue={"hoststatus": shown}):
        result = await run("hoststatus The.CPQ.Host")
    assert result.status == 0
    assert daemons.asked[0][2] == {"host": "the.cpq.host"}
    assert "Appliances:" in result.output
    assert "42SMA:" in result.output


async def test_an_address_is_no_host(run: Any) -> None:
    result = await run("hoststatus user@b.example")
    assert result.status == 65
    assert "is not a valid host" in result.error


async def test_an_error_of_the_queue_comes_through_with_its_status(daemons: Daemons, run: Any) -> None:
    async with daemons.up(delivery_queue={"hoststatus": GatepostError("no such destination: c.example", 66)}):
        result = await run("hoststatus c.example")
    assert (result.status, result.error) == (66, "no such destination: c.example")


async def test_the_rule_that_limits_a_host_was_longer_than_the_terminal(daemons: Daemons, run: Any) -> None:
    rule = "host down until Sun Nov 22 02:21:02 2026: next try in 76 s ([Errno 111] Connection refused)"
    async with daemons.up(delivery_queue={"hoststatus": {**STATUS, "limiting_rule": rule}}):
        lines = (await run("hoststatus b.example", width=80)).output.splitlines()
        wide = (await run("hoststatus b.example")).output
    at = next(number for number, line in enumerate(lines) if line.startswith("Limited by:"))
    assert lines[at + 1] == " " * 22 + "(Connection refused)"
    assert max(map(len, lines)) <= 80
    assert "76 s (Connection refused)\n" in wide
