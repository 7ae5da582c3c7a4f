"""The whole road under load, its two daemons killed again and again: whatever was answered 250 arrives.

A real `gateway` and a real `delivery-queue` run as processes of one machine; the clients and the host that the mail
goes to are here. The moments of the kills come from a seed that is printed; ROAD_KILL_SEED repeats one.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.support.load import Road, Sink, road
from tests.support.long import either
from tests.support.road import DaemonProcess

KILLS = either(6, 100)
"""Of each of the two daemons."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(180, 1200))]


async def torture(whole: Road, daemon: DaemonProcess, chance: random.Random) -> None:
    """Kill a daemon at random moments, now and then before it has come up, and start it again."""
    for _ in range(KILLS):
        if chance.random() < 0.8:
            await daemon.until_ready()
            await asyncio.sleep(chance.uniform(0, 0.5))
        else:
            await asyncio.sleep(chance.uniform(0, 0.8))
        if daemon is whole.queue:
            whole.stop_queue()
        await daemon.kill()
        await daemon.start()
    await daemon.until_ready()


async def test_everything_answered_250_arrives_though_both_daemons_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("ROAD_KILL_SEED") or random.randrange(1 << 32))
    print(f"ROAD_KILL_SEED={seed}")
    sink, chance = Sink(), random.Random(seed)
    async with asyncio.timeout(either(170, 1000)), road(tmp_path / "esa", sink) as whole:
        await whole.start()
        async with whole.load(), asyncio.TaskGroup() as both:
            for daemon in (whole.gateway, whole.queue):
                both.create_task(torture(whole, daemon, chance))
        await whole.empty()
        bound = whole.in_flight
    print(f"{2 * KILLS} kills, {len(whole.accepted)} accepted, {sink.repeats} repeats, {bound} in flight at the kills")
    assert not sink.damaged
    assert len(whole.accepted) > 300, "there was no load worth the name"
    assert not whole.refused
    assert sink.repeats <= bound
