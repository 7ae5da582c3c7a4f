"""Children of one process: how long a daemon that ended waits, and which processes are strays."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from core.child import Child, Household, Pace, Reaper
from core.errors import GatepostError
from core.lifecycle import Activities, Signals, run_service
from core.relay import Relay
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]


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
        await until(lambda: child.starts >= 3)
        signals.stopping.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(_run([child], signals))
        group.create_task(stop())
    assert len(mark.read_text()) >= 2


@contextlib.asynccontextmanager
async def _kept(*children: Child) -> AsyncIterator[None]:
    signals = Signals(child.name for child in children)
    async with asyncio.TaskGroup() as group:
        group.create_task(_run(list(children), signals))
        try:
            async with asyncio.timeout(30):
                yield
        finally:
            signals.stopping.set()


def _daemon(name: str, folder: Path, home: Household, first: str = "", after: Sequence[Child] = ()) -> Child:
    """Make a child that is a real daemon; `first` is what it does before."""
    program = f"""
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
HERE = Path({str(folder)!r})
sys.path.insert(0, {str(ROOT)!r})
{first}
from core.runtime import Daemon, run_daemon
class Waits:
    name = "waits"
    async def run(self, scope):
        scope.ready()
        await scope.stopping.wait()
        (HERE / "{name} was told").touch()
sys.exit(run_daemon(Daemon("{name}", [Waits()], HERE / "{name}.sock")))
"""
    return Child(name, [sys.executable, "-c", program], folder / f"{name}.sock", home, after)


async def test_one_that_does_not_end_had_those_after_it_killed_untold(home: Household, tmp_path: Path) -> None:
    home.patience_s = 0.2
    first = _daemon("first", tmp_path, home)
    last = _daemon("last", tmp_path, home, after=[first])
    async with _kept(first, last):
        await until(lambda: (first.state, last.state) == ("ready", "ready"))
        os.kill(first.pid, signal.SIGSTOP)
    assert (tmp_path / "last was told").exists()


async def test_one_that_gave_no_answer_any_more_was_left_to_itself(home: Household, tmp_path: Path) -> None:
    home.look_every_s = 0.05
    child = _daemon("one", tmp_path, home)
    async with _kept(child):
        await until(lambda: child.state == "ready")
        os.kill(child.pid, signal.SIGSTOP)
        await until(lambda: child.starts == 2 and child.state == "ready")


async def test_a_daemon_that_could_not_be_started_ended_all_others(home: Household, tmp_path: Path) -> None:
    child = Child("one", [str(tmp_path / "not there")], tmp_path / "one.sock", home)
    async with _kept(child):
        await until(lambda: child.starts >= 3)


async def test_sighup_during_the_start_killed_the_daemon(home: Household, tmp_path: Path) -> None:
    child = _daemon("one", tmp_path, home, "time.sleep(0.3); (HERE / 'begun').touch(); time.sleep(0.3)")
    async with _kept(child):
        await until((tmp_path / "begun").exists)
        child.again()
        await until(lambda: child.state == "ready")
        assert child.starts == 1


async def test_a_pipe_that_a_grandchild_held_stayed_open_for_each_start(home: Household, tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! >> {tmp_path / 'pids'}; exit 1"
    child = Child("one", ["sh", "-c", script], tmp_path / "one.sock", home)
    try:
        async with _kept(child):
            await until(lambda: child.starts >= 2)
            before = len(os.listdir("/proc/self/fd"))
            await until(lambda: child.starts >= 5)
            await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)
    finally:
        for pid in (tmp_path / "pids").read_text().split():
            os.kill(int(pid), signal.SIGKILL)


async def test_the_reaper_leaves_our_own_children_to_the_loop(home: Household, tmp_path: Path) -> None:
    own = Child("own", ["true"], tmp_path / "own.sock", home)
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        own.pid = process.pid
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and waits to be taken in
        assert Reaper(home).reap() == 0
    finally:
        assert process.wait(30) == 0
