"""Fifty appliances at one bastion lose their connections in the same moment: all come back, each name once.

The small form of `python -m bench.tunnels`: the same simulated appliances, which run the appliance's own code in a
process of their own, and so little room at the bastion that most of them are asked to come later.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from bench.tunnels.crew import Fleet, crew
from bench.tunnels.fleet import Plan
from core import ssh
from tests.support.remote import BASTION, Support
from tests.support.service import running
from tests.support.waiting import until
from tunnel.bastion.store import Enrolled

COUNT = 50
WITHIN_S = 60


async def _plan(support: Support, folder: Path) -> Plan:
    """Enrol the appliances, each with an address of its own."""
    host_key, rows = ssh.public_text(ssh.make_key()), []
    for number in range(COUNT):
        key, serial = ssh.make_key(), f"sn-{number:04}"
        rows.append((serial, f"127.71.9.{number + 1}", key.export_private_key().decode()))
        await support.bastion.store.appliances.enroll(
            Enrolled(serial=serial, tunnel_key=ssh.public_text(key), host_key=host_key, exchange_key="")
        )
    return Plan(
        address="127.0.0.1",
        ports=tuple(support.ports[:2]),
        authority=support.public["host_ca"],
        console=str(folder / "console"),
        rows=tuple(rows),
        name=BASTION,
    )


async def _all_online(support: Support, fleet: Fleet) -> None:
    assert await fleet.until_open(COUNT, WITHIN_S), fleet.told

    async def online() -> bool:
        rows: list[dict[str, Any]] = (await support.bastion.tunnels({}))["tunnels"]
        return sum(row["online"] for row in rows) == COUNT

    await until(online, within_s=WITHIN_S)
    names = [row["serial"] for row in (await support.bastion.tunnels({}))["tunnels"]]
    assert names == sorted({f"sn-{number:04}" for number in range(COUNT)}), "each once"


def _events(support: Support, name: str) -> list[dict[str, Any]]:
    return [line for line in support.audit() if line["event"] == name]


async def test_all_appliances_come_back_after_a_storm_and_after_a_restart_each_name_once(tmp_path: Path) -> None:
    narrow = {"unlimited_sources": (), "unauthenticated": 10, "early_drop": 5, "login_timeout_s": 30}
    support = Support(tmp_path / "bastion", registration="required", **narrow)
    plan = await _plan(support, tmp_path)
    async with crew(plan, tmp_path) as fleet:
        async with running(*support.services):
            await _all_online(support, fleet)
            fleet.say("cut")
            await until(lambda: fleet.told["cut_at"], within_s=WITHIN_S)
            await _all_online(support, fleet)
            assert "closed banner" not in fleet.told["troubles"], "nobody is sent away without a word"
            fleet.say("mark")
            await until(lambda: not fleet.told["back_s"], within_s=WITHIN_S)
        support.build()
        async with running(*support.services):
            await _all_online(support, fleet)
            published = [await support.bastion.store.appliances.get(serial) for serial, _, _ in plan.rows]
    assert all(one is not None and one.generation >= 2 for one in published), "each registration moved it on"
    assert not _events(support, "clone")
    registered = Counter(line["serial"] for line in _events(support, "registered"))
    assert len(registered) == COUNT
    assert min(registered.values()) >= 3
    assert registered.total() < 4 * COUNT, "but for a few who lost the new connection as well, on a slow machine"
