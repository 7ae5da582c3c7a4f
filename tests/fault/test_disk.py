"""A disk that fails under load: full, out of inodes, read-only, or with syncs that fail.

While it lasts the gateway answers 4xx and both daemons live; afterwards mail is taken again without a restart (but
for the file system that the kernel made read-only, which comes back only by mounting it anew), and nothing is lost.
"""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.load import RETRY_SOON, Road, Sink, road
from tests.support.long import either
from tests.support.need import needs
from tests.support.volume import Volume, fill, mounted, on_a_volume, run
from tests.support.window import watched

TIMES = either(1, 10)
SMALL = '[spool]\nsegment_size = "1M"\n'
SHIM = Path(__file__).parents[1] / "support" / "failsync.c"
PATIENCE_S = 90.0
"""Of a client: who comes in the second in which the disk fills may have to wait up to a minute for the greeting."""
CONNECTIONS = 30
"""More than the queue opens to the sink here."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(180, 1200))]


def exhaust(folder: Path) -> None:
    """Make empty files until there are no inodes."""
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        for number in range(1_000_000):
            (folder / str(number)).touch()


def remove_all(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


async def endure(
    whole: Road, begin: Callable[[], None], end: Callable[[], None], *, spared: Callable[[str], bool] = lambda _: False
) -> None:
    """Let the trouble come and go under load; both daemons must live, and refuse while it lasts."""
    whole.patience_s = PATIENCE_S
    for _ in range(TIMES):
        refused = whole.refused.total()
        async with whole.load():
            await whole.more_accepted(100)
            await asyncio.to_thread(begin)
            await whole.nothing_accepted(1.0, 60)
            await whole.refuses(refused)
            await asyncio.sleep(either(1, 5))
            await asyncio.to_thread(end)
            try:
                await whole.more_accepted(100, 60)
            except TimeoutError:
                pytest.fail(f"no mail is taken afterwards: {whole.refused}\n{whole.last_words()}")
    assert all(reply.startswith(("451 ", "452 ", "421 ")) for reply in whole.refused), whole.refused
    await whole.empty(60)
    assert (whole.gateway.status, whole.queue.status) == (None, None), whole.last_words()


async def end_well(whole: Road, most_repeats: int = 0) -> None:
    """Kill and start once more: the disk says the same as the daemons did."""
    await whole.kill()
    await whole.start()
    await asyncio.sleep(1)
    await whole.empty()
    assert not whole.sink.damaged
    assert whole.sink.repeats <= most_repeats + whole.in_flight, (whole.sink.repeats, whole.in_flight)


@on_a_volume
async def test_a_full_disk_refuses_mail_and_is_got_over(tmp_path: Path) -> None:
    with mounted(tmp_path) as volume:
        ballast = volume.place / "ballast"
        async with road(volume.place / "esa", Sink(refuses=0.2), RETRY_SOON + SMALL) as whole:
            await whole.start()
            await endure(whole, lambda: fill(ballast), ballast.unlink)
            await end_well(whole)


@on_a_volume
async def test_killed_while_the_disk_is_full_it_comes_back_when_there_is_room(tmp_path: Path) -> None:
    with mounted(tmp_path) as volume:
        ballast = volume.place / "ballast"
        async with road(volume.place / "esa", Sink(refuses=0.2), RETRY_SOON + SMALL) as whole:
            whole.patience_s = PATIENCE_S
            await whole.start()
            async with whole.load():
                await whole.more_accepted(200)
                await asyncio.to_thread(fill, ballast)
                await whole.nothing_accepted(1.0, 60)
                await whole.kill()
                ballast.unlink()
                await whole.start()
                await whole.more_accepted(50)
            await whole.empty(60)
            await end_well(whole, CONNECTIONS)


@on_a_volume
async def test_a_disk_without_inodes_refuses_mail_and_is_got_over(tmp_path: Path) -> None:
    with mounted(tmp_path, inodes=400) as volume:
        clutter = volume.place / "clutter"
        async with road(volume.place / "esa", Sink(refuses=0.2), RETRY_SOON + SMALL) as whole:
            await whole.start()
            await endure(whole, lambda: exhaust(clutter), lambda: remove_all(clutter))
            await end_well(whole)


def restore(volume: Volume) -> None:
    """Do what an administrator does with a file system that the kernel has given up."""
    volume.unmount()
    subprocess.run(["e2fsck", "-p", str(volume.image)], check=False, capture_output=True)
    volume.mount()


@on_a_volume
async def test_a_file_system_that_becomes_read_only_refuses_mail_and_loses_none(tmp_path: Path) -> None:
    with mounted(tmp_path) as volume:
        sink, bound = Sink(refuses=0.2), 0
        async with road(volume.place / "esa", sink, RETRY_SOON + SMALL) as whole, watched(sink) as window:
            await whole.start()
            for _ in range(TIMES):
                async with whole.load():
                    await whole.more_accepted(100)
                    bound += window.recent()  # what was not synced before is lost, as in a power cut
                    run("mount", "-o", "remount,abort", str(volume.place))
                    before, refused = whole.sink.transactions, whole.refused.total()
                    await whole.nothing_accepted(1.0, 60)
                    await whole.refuses(refused)
                    assert (whole.gateway.status, whole.queue.status) == (None, None), whole.last_words()
                    bound += whole.sink.transactions - before
                    await whole.kill()
                    restore(volume)
                    await whole.start()
                    await whole.more_accepted(50)
                await whole.empty(60)
            assert all(reply.startswith(("451 ", "452 ")) for reply in whole.refused), whole.refused
            assert not whole.sink.damaged
        bound += whole.in_flight
        print(f"{sink.repeats} repeats, bound {bound}")
        assert sink.repeats <= bound


@contextlib.asynccontextmanager
async def road_whose_syncs_can_fail(folder: Path) -> AsyncIterator[tuple[Road, Path]]:
    """Give a road that runs, and the file during whose life no sync of its daemons succeeds."""
    shim, dying = folder / "failsync.so", folder / "dying"
    run("cc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(SHIM), "-ldl")
    async with road(folder / "esa", Sink(refuses=0.2), RETRY_SOON + SMALL) as whole:
        for daemon in (whole.gateway, whole.queue):
            daemon.environment = {"LD_PRELOAD": str(shim), "FAILSYNC_WHILE": str(dying)}
        await whole.start()
        yield whole, dying


@needs("cc")
async def test_syncs_that_fail_refuse_mail_and_are_got_over(tmp_path: Path) -> None:
    async with road_whose_syncs_can_fail(tmp_path) as (whole, dying):
        await endure(whole, dying.touch, dying.unlink)
        await end_well(whole)


@needs("cc")
async def test_killed_while_syncs_fail_nothing_is_lost(tmp_path: Path) -> None:
    async with road_whose_syncs_can_fail(tmp_path) as (whole, dying):
        async with whole.load():
            await whole.more_accepted(100)
            dying.touch()
            await whole.nothing_accepted(1.0, 60)
            await whole.kill()
            dying.unlink()
            await whole.start()
            await whole.more_accepted(50)
        await whole.empty(60)
        await end_well(whole, CONNECTIONS)
