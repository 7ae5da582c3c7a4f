"""A process without descriptors or memory refuses or ends; nothing that was answered 250 is lost."""

import asyncio
import os
import resource
import time
from pathlib import Path

import pytest

from tests.support.load import RETRY_SOON, Sink, road
from tests.support.long import either
from tests.support.road import DaemonProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(120, 600))]
SPARE = 3
TIMES = either(1, 8)
NO_MEMORY = ("MemoryError", "Cannot allocate memory", "can't start new thread")


def limit_descriptors(daemon: DaemonProcess, spare: int | None) -> None:
    """Leave a process so many descriptors more than it has, None = as many as the machine gives."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    soft = most if spare is None else len(os.listdir(f"/proc/{daemon.pid}/fd")) + spare
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, most))


async def crowd(port: int, count: int) -> list[asyncio.StreamWriter]:
    return [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(count)]


async def until_at_the_limit(*daemons: DaemonProcess, within_s: float = 60) -> None:
    """Wait until each of them has had every descriptor that it may have, with fewer to spare each second."""
    left, spare, since = {*daemons}, SPARE, time.monotonic()
    async with asyncio.timeout(within_s):
        while left:
            if spare and time.monotonic() - since > 1:  # a queue that has closed connections may never need them all
                spare, since = spare - 1, time.monotonic()
                for daemon in left:
                    limit_descriptors(daemon, spare)
            for daemon in [*left]:
                soft, _ = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
                if len(os.listdir(f"/proc/{daemon.pid}/fd")) >= soft:
                    left.remove(daemon)
            await asyncio.sleep(0.001)


async def test_without_descriptors_both_daemons_live_and_go_on_when_there_are_some(tmp_path: Path) -> None:
    async with road(tmp_path / "esa", Sink(refuses=0.1), RETRY_SOON) as whole:
        await whole.start()
        for _ in range(TIMES):
            async with whole.load():
                await whole.more_accepted(100)
                for daemon in (whole.gateway, whole.queue):
                    limit_descriptors(daemon, SPARE)
                idle = await crowd(whole.port, 50)
                await until_at_the_limit(whole.gateway, whole.queue)
                await asyncio.sleep(either(2, 10))
                for one in idle:
                    one.close()
                for daemon in (whole.gateway, whole.queue):
                    limit_descriptors(daemon, None)
                await whole.more_accepted(100, 60)
        await whole.empty(60)
        assert (whole.gateway.status, whole.queue.status) == (None, None), whole.last_words()
    assert not whole.sink.damaged
    assert whole.sink.repeats == 0


def limit_memory(daemon: DaemonProcess) -> None:
    """Let a process have no more address space than it has; what it freed before it may use again."""
    pages = int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(daemon.pid, resource.RLIMIT_AS, (size, size))


def felt(daemon: DaemonProcess) -> bool:
    """Tell whether a daemon has been refused memory: it said so, or ended."""
    return daemon.status is not None or any(word in daemon.errors.read_text() for word in NO_MEMORY)


async def test_without_memory_nothing_that_was_answered_250_is_lost(tmp_path: Path) -> None:
    """A daemon may refuse, or end and be started again by whoever supervises it."""
    async with road(tmp_path / "esa", Sink(refuses=0.1), RETRY_SOON) as whole:
        daemons = {"gateway": whole.gateway, "queue": whole.queue}
        for name, daemon in daemons.items():
            daemon.errors = tmp_path / f"{name}.errors"
        await whole.start()
        ended = 0
        for _ in range(TIMES):
            for name, daemon in daemons.items():
                daemon.errors.write_text("")
                async with whole.load(16):
                    await whole.more_accepted(100)
                    limit_memory(daemon)
                    async with asyncio.timeout(30):
                        while not felt(daemon):
                            await asyncio.sleep(0.02)
                    await asyncio.sleep(1)
                    print(name, "ended:", daemon.status, daemon.errors.read_text()[-500:])
                    ended += whole.queue.status is not None
                    await whole.kill()
                    await whole.start()
                    await whole.more_accepted(100, 60)
                await whole.empty(60)
    assert not whole.sink.damaged
    print(f"{whole.sink.repeats} repeats, {whole.in_flight} in flight, the queue ended {ended} times by itself")
    # When it ends by itself nobody has counted what was in flight: as much as ever was, at most.
    assert whole.sink.repeats <= whole.in_flight + ended * whole.sink.most_connections
