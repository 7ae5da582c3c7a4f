"""The queue killed at every named point, and at any moment: nothing is lost, little is repeated."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from mail.delivery.courier import Carried, Job
from mail.queue.places import Places
from tests.support.queue_machine import Machine

ROOT = Path(__file__).parents[2]
POINTS = (
    "done.before",
    "done.written",
    "checkpoint.begun",
    "checkpoint.before-commit",
    "checkpoint.committed",
    "reclaim.copied",
    "reclaim.synced",
    "journal.acknowledged",
    "report.before",
    "report.durable",
)
MOST_LINES = 15
"""Three destinations, five connections each."""


def child(root: Path, messages: int, kill_at: str = "") -> int:
    environment = os.environ | {"GATEPOST_KILL_AT": kill_at, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.support.queue_child", str(root), str(messages)]
    done = subprocess.run(command, env=environment, cwd=ROOT, timeout=60, capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


def check(root: Path, kills: int = 1) -> None:
    """Everything accepted arrived, or its sender was told; repeats only of what was on its way.

    Of bounces no number is promised but this: what one sync of the journal made durable may come once more, and how
    much that is depends on how long the disk took. Each comes once more for each kill at most.
    """
    accepted = [line.split() for line in (root / "accepted").read_text().splitlines()]
    delivered = Counter((root / "delivered").read_text().splitlines())
    for mid, *kinds in accepted:
        for rid, kind in enumerate(kinds):
            name = f"bounce {mid}" if kind == "never" else f"{mid} {rid}"
            assert delivered[name] >= 1, f"lost: {name}"
    assert max(delivered.values(), default=1) <= 1 + kills
    mail = [n for name, n in delivered.items() if not name.startswith("bounce")]
    assert sum(n - 1 for n in mail) <= kills * MOST_LINES


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_a_named_point(tmp_path: Path, point: str, count: int) -> None:
    status = child(tmp_path, 60, f"{point}:{count}")
    assert status == -signal.SIGKILL or count > 1 or "reclaim" in point or "journal" in point
    assert child(tmp_path, 0) == 0
    check(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        child(tmp_path, 40, f"{chance.choice(POINTS)}:{chance.randrange(1, 30)}")
    assert child(tmp_path, 0) == 0
    check(tmp_path, 3)


@pytest.mark.parametrize("seed", range(12))
async def test_dropped_at_any_moment(tmp_path: Path, seed: int) -> None:
    """The object is let go without a word, again and again, while mail keeps coming."""
    chance = random.Random(seed)
    machine = Machine(tmp_path, ready_limit=6, resident=30, patience_s=0.0)
    got: Counter[tuple[int, int]] = Counter()

    async def behave(job: Job, dcid: int) -> Sequence[Carried]:
        if chance.random() < 0.2:
            return [Carried(one.rid, "soft", 450, "4.2.1", "busy") for one in job.recipients]
        got.update((job.mid, one.rid) for one in job.recipients)
        if chance.random() < 0.3:
            await asyncio.sleep(0.002 * chance.random())
        return [Carried(one.rid, "delivered", 250, "", "ok") for one in job.recipients]

    machine.courier.behave = behave
    wanted: set[tuple[int, int]] = set()
    crashes = 6
    for _ in range(crashes):
        await machine.start()
        for _ in range(chance.randrange(5, 40)):
            mid = await machine.accept("b@one.test", "c@two.test")
            wanted |= {(mid, 0), (mid, 1)}
        await asyncio.sleep(chance.random() * 0.1)
        machine.time += chance.choice([0, 70])
        await asyncio.sleep(chance.random() * 0.05)
        await machine.crash()
    queue = await machine.start()
    async with asyncio.timeout(20):
        while wanted - got.keys():
            machine.time += 100
            await asyncio.sleep(0.05)
    assert got.keys() == wanted
    assert sum(n - 1 for n in got.values()) <= crashes * 20
    await machine.until(lambda: queue.views.gauges()["active_recips"] == 0)
    await machine.close()


async def test_reclaimed_segments_leave_the_content_readable(tmp_path: Path) -> None:
    """Long deferred mail moves into the queue's own store; the journal's segments go; the content is the same."""
    machine = Machine(tmp_path, patience_s=0.0)
    machine.courier.refuse = OSError("refused")
    queue = await machine.start()
    contents = {}
    for number in range(40):
        content = b"Subject: x\r\n\r\n" + bytes([65 + number % 26]) * 100_000 + b"\r\n"
        contents[await machine.accept("b@there.test", content=content)] = content
    large = b"L" * 400_000 + b"\r\n"
    contents[await machine.accept("b@there.test", content=large)] = large
    await machine.until(lambda: queue._checkpointer.acknowledgeable.get("gateway-0", 0) >= 3)
    segments = tmp_path / "spool" / "journal" / "gateway-0"
    before = len(list(segments.glob("*.segment")))
    for _ in range(6):
        await queue._reclaimer.turn()
        await queue._checkpointer.make()
    await machine.until(lambda: len(list(segments.glob("*.segment"))) < before)
    assert list(Places(tmp_path / "spool").content.iterdir())
    await machine.crash()
    machine.courier.refuse = None
    machine.time += 100_000
    queue = await machine.start()
    await machine.until(lambda: len(machine.courier.carried) == 41, 20)
    assert {mid: content for mid, _, content in machine.courier.carried} == contents
    await machine.until(lambda: not queue._book.gone)
    await queue._reclaimer.turn()
    assert not list(Places(tmp_path / "spool").content.iterdir())
    await machine.close()
