"""Programs are found, bounded, ended with whoever runs them, and never get what a shell would make of a word."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core import program
from core.errors import GatepostError
from core.runtime import spawn
from tests.support.lab import alive

ROOT = Path(__file__).parents[3]


async def test_output_error_and_status_come_back() -> None:
    done = await program.run("ls", "-d", "/etc", "/nowhere $(id)")
    assert done.status == 2
    assert done.output == "/etc\n"
    assert "/nowhere $(id)" in done.reason
    assert done.whole


async def test_the_environment_of_the_caller_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CONSOLE", "1")
    done = await program.run("env")
    assert sorted(line.partition("=")[0] for line in done.output.splitlines()) == ["LC_ALL", "PATH", "TZ"]


async def test_a_program_that_writes_without_end_is_ended() -> None:
    done = await program.run("yes", limit=10_000, timeout_s=30)
    assert (len(done.output), done.whole) == (10_000, False)


async def test_a_program_that_says_nothing_is_ended_when_its_time_is_up() -> None:
    with pytest.raises(GatepostError, match="sleep gave no result within") as raised:
        await program.run("sleep", "600", timeout_s=0.1)
    assert raised.value.status == 75


async def test_a_program_that_is_not_installed_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "FOLDERS", "/nowhere")
    with pytest.raises(GatepostError, match="apt-get install iputils-ping") as raised:
        await program.run("ping")
    assert raised.value.status == 69


async def test_a_program_ends_with_the_task_that_runs_it() -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with program.running("sleep", "600") as one:
            started.set_result(one.pid)
            await one.wait()

    task = spawn(work(), "sleeper")
    async with asyncio.timeout(30):
        pid = await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)


async def test_a_line_without_end_is_left_out_and_the_next_one_is_read() -> None:
    word = "x" * (program.LINE_LIMIT * 3)
    async with program.running("printf", f"a\n{word[:100_000]}\nb\n") as one:
        lines = [line async for line in one.lines()]
    assert lines[0] == "a"
    assert lines[-1] == "b"
    assert all(len(line) <= program.LINE_LIMIT for line in lines)


def test_a_program_dies_with_the_process_that_started_it() -> None:
    text = """
import asyncio, sys
from core import program
async def main():
    async with program.running("sleep", "600") as one:
        print(one.pid, flush=True)
        await one.wait()
asyncio.run(main())
"""
    parent = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    with parent.stdout as out:
        pid = int(out.readline())
    assert alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(30)
    deadline = time.monotonic() + 30
    while alive(pid):
        assert time.monotonic() < deadline, "it outlived its parent"
