"""Children of one process: how long a daemon that ended waits, and which processes are strays."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.child import Child, Household, Pace, Reaper
from core.errors import GatepostError
from core.lifecycle import Activities, Signals, run_service
from core.relay import Relay


def test_the_pause_grows_to_its_limit_and_is_short_again_after_a_good_run() -> None:
    pace = Pace(first_s=1, longest_s=5, well_s=60)
    pauses = [0.0]
    for _ in range(5):
        pauses.append(pace.after(pauses[-1], lasted_s=2))
    assert pauses[1:] == [1, 2, 4, 5, 5]
    assert pace.after(5, lasted_s=60) == 1


@pytest.fixture
def home() -> Household:
    return Household(Relay(), Pace(first_s=0.01, longest_s=0.02))


async def _run(children: list[Child], signals: Signals) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for child in children:
            group.create_task(run_service(child, signals, Activities()))


async def test_when_every_daemon_refuses_the_last_ones_status_is_raised(home: Household, tmp_path: Path) -> None:
    def child(name: str, status: int) -> Child:
        return Child(name, [sys.executable, "-c", f"raise SystemExit({status})"], tmp_path / f"{name}.sock", home)

    children = [child("one", 64), child("two", 78)]
    with pytest.raises(ExceptionGroup) as caught:
        await _run(children, Signals(["one", "two"]))
    leaf = caught.value
    while isinstance(leaf, ExceptionGroup):
        leaf = leaf.exceptions[0]
    assert isinstance(leaf, GatepostError)
    assert leaf.status in (64, 78)
    assert "no daemon is left" in leaf.text
    assert [one.starts for one in children] == [1, 1]


async def test_a_daemon_that_fails_otherwise_is_started_until_stopping(home: Household, tmp_path: Path) -> None:
    mark = tmp_path / "starts"
    program = f"open({str(mark)!r}, 'a').write('x'); raise SystemExit(0)"
    child = Child("one", [sys.executable, "-c", program], tmp_path / "one.sock", home)
    signals = Signals(["one"])

    async def stop() -> None:
        while child.starts < 3:
            await asyncio.sleep(0.01)
        signals.stopping.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(_run([child], signals))
        group.create_task(stop())
    assert len(mark.read_text()) >= 2


async def test_the_reaper_leaves_our_own_children_to_the_loop(home: Household, tmp_path: Path) -> None:
    own = Child("own", ["true"], tmp_path / "own.sock", home)
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        own.pid = process.pid
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and waits to be taken in
        assert Reaper(home).reap() == 0
    finally:
        assert process.wait(30) == 0
