"""A real file system whose power goes: what was acknowledged is on it afterwards."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.disk import Disk
from core.journal import Journal, JournalSettings, Tail, read_content
from tests.support.volume import Volume, fill, mounted, on_a_volume
from tests.support.waiting import until

SETTINGS = JournalSettings(segment_bytes=256 * 1024, backlog_bytes=8 * 1024 * 1024, reserve_bytes=0, keep_s=60)


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    with mounted(tmp_path) as volume:
        yield volume


def body(mid: int) -> bytes:
    return b"%d " % mid * (100 + mid * 7) + (bytes(400_000) if mid % 10 == 0 else b"")


async def accept(journal: Journal, mids: range) -> list[int]:
    """Append all and wait until each was told; gives those that were accepted."""
    told: list[int] = []
    refused: list[int] = []
    for mid in mids:
        content = journal.content()
        content.write(body(mid))

        def done(failure: Exception | None, mid: int = mid) -> None:
            (told if failure is None else refused).append(mid)

        outcome = b"outcome" if mid % 2 else None
        journal.append(mid, b"accepted %d" % mid, content, outcome, done)
        if mid % 4 == 0:
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        while len(told) + len(refused) < len(mids):
            await asyncio.sleep(0.002)
    return told


@pytest.mark.slow
@on_a_volume
async def test_a_power_cut_loses_nothing_acknowledged(volume: Volume) -> None:
    directory = volume.place / "gateway-0"
    accepted: list[int] = []
    for life in range(3):
        journal = Journal.open(directory, SETTINGS)
        accepted += await accept(journal, range(life * 40 + 1, life * 40 + 41))
        unsynced = directory / "content" / "unsynced"
        unsynced.write_bytes(b"x" * 5000)
        journal.close()
        volume.cut_power()
        assert not unsynced.exists() or not unsynced.read_bytes(), "the power cut lost nothing: it proves nothing"
    assert len(accepted) == 120
    journal = Journal.open(directory, SETTINGS)
    waiting = {entry.mid: entry for entry in journal.recovered}
    tail = Tail(directory)
    imported = {entry.mid: entry for entry in tail.read(1 << 30)}
    tail.close()
    for mid in accepted:
        entry = imported[mid] if mid % 2 else waiting[mid]
        assert entry.accepted == b"accepted %d" % mid
        assert read_content(entry.content) == body(mid)
    journal.close()


@pytest.mark.slow
@on_a_volume
async def test_a_disk_that_stops_in_mid_flight_loses_nothing_acknowledged(volume: Volume) -> None:
    directory = volume.place / "gateway-0"
    journal = Journal.open(directory, SETTINGS)
    accepted = await accept(journal, range(1, 41))
    volume.shut()
    assert await accept(journal, range(41, 61)) == []
    assert journal.refusal is not None
    journal.close()
    volume.unmount()
    volume.mount()
    journal = Journal.open(directory, SETTINGS)
    tail = Tail(directory)
    found = {entry.mid for entry in journal.recovered} | {entry.mid for entry in tail.read(1 << 30)}
    tail.close()
    assert set(accepted) <= found
    journal.close()


@pytest.mark.slow
@on_a_volume
async def test_a_full_disk_refuses_and_recovers_by_itself(volume: Volume) -> None:
    settings = JournalSettings(segment_bytes=256 * 1024, backlog_bytes=1 << 30, reserve_fraction=0.3, keep_s=0.01)
    directory = volume.place / "gateway-0"
    journal = Journal.open(directory, settings)
    ballast = volume.place / "ballast"
    ballast.write_bytes(bytes(45 * 1024 * 1024))
    await until(lambda: journal.refusal is not None, "the disk was looked at")
    assert await accept(journal, range(1, 11)) == []
    ballast.unlink()
    await until(lambda: journal.refusal is None, "the disk was looked at again")
    assert await accept(journal, range(11, 21)) == list(range(11, 21))
    journal.close()


@pytest.mark.slow
@on_a_volume
async def test_a_disk_without_space_refuses_and_the_journal_recovers_by_itself(volume: Volume) -> None:
    settings = JournalSettings(
        segment_bytes=1024 * 1024, backlog_bytes=1 << 30, reserve_bytes=0, keep_s=60, retry_s=0.05
    )
    directory = volume.place / "gateway-0"
    journal = Journal.open(directory, settings)
    ballast = volume.place / "ballast"
    fill(ballast)
    accepted = [mid for first in range(1, 601, 100) for mid in await accept(journal, range(first, first + 100))]
    assert 0 < len(accepted) < 600
    spilled = [mid for mid in accepted if mid % 10 == 0]
    content = directory / "content"  # workers remove that of refused messages
    await until(lambda: len(list(content.iterdir())) == len(spilled))
    assert not journal.status()["healthy"]
    ballast.unlink()
    await until(lambda: journal.refusal is None)
    again = await accept(journal, range(1001, 1011))
    assert again == sorted(again)
    assert len(again) == 10
    tail = Tail(directory)
    imported = {entry.mid for entry in tail.read(1 << 30)}
    assert imported == {mid for mid in accepted + again if mid % 2}
    tail.close()
    journal.close()


class OrderedDisk(Disk):
    """Notes when syncs return."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        self.events.append("synced")


async def test_the_sync_has_returned_before_anybody_is_told(tmp_path: Path) -> None:
    disk = OrderedDisk()
    journal = Journal.open(tmp_path / "gateway-0", SETTINGS, disk)
    for mid in range(1, 11):
        disk.events.clear()
        told = asyncio.get_running_loop().create_future()
        content = journal.content()
        content.write(body(mid))
        journal.append(
            mid, b"a", content, b"o", lambda failure, told=told: (disk.events.append("told"), told.set_result(failure))
        )
        assert await told is None
        spilled = mid % 10 == 0
        assert disk.events == (["synced", "synced", "told"] if spilled else ["synced", "told"])
    journal.close()
