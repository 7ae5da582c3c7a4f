"""The facade with its threads, on a real directory; crashes are in tests/fault."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from zlib import crc32

import pytest

from core.content import ContentSettings
from core.disk import Disk
from core.format import FormatRefused
from core.journal import (
    Journal,
    JournalBusy,
    JournalDamaged,
    JournalFull,
    JournalSettings,
    JournalUnavailable,
    Position,
    Tail,
    acknowledge,
    acknowledged,
    open_free,
    open_orphans,
    read_content,
)
from core.journal.segment import LAYOUT, decode_header, generations, segment_path
from tests.support.release import files_below
from tests.support.waiting import until

SETTINGS = JournalSettings(
    segment_bytes=64 * 1024,
    backlog_bytes=4 * 1024 * 1024,
    reserve_bytes=0,
    retry_s=0.01,
    keep_s=0.01,
    content=ContentSettings(inline_bytes=10_000),
)


class FaultyDisk(Disk):
    """Fails the calls that `fault` says."""

    def __init__(self) -> None:
        self.fault: Callable[[str], bool] = lambda _call: False

    def write(self, fd: int, buffers: object, offset: int) -> int:
        if self.fault("write"):
            raise OSError(errno.ENOSPC, "injected")
        return super().write(fd, buffers, offset)  # type: ignore[arg-type]

    def fdatasync(self, fd: int) -> None:
        if self.fault("fdatasync"):
            raise OSError(errno.EIO, "injected")
        super().fdatasync(fd)


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
async def journal(tmp_path: Path, disk: FaultyDisk) -> AsyncIterator[Journal]:
    journal = Journal.open(tmp_path / "gateway-0", SETTINGS, disk)
    yield journal
    journal.close()


async def accept(journal: Journal, mid: int, body: bytes, outcome: bytes | None = b"outcome") -> Exception | None:
    content = journal.content()
    content.write(body)
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    journal.append(mid, b"accepted %d" % mid, content, outcome, told.set_result)
    assert not told.done(), "told from within append"
    async with asyncio.timeout(30):
        return await told


async def finish(journal: Journal, mid: int, outcome: bytes = b"late") -> Exception | None:
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    journal.append_outcome(mid, outcome, told.set_result)
    async with asyncio.timeout(30):
        return await told


async def test_an_accepted_message_can_be_read_at_once(journal: Journal) -> None:
    assert await accept(journal, 7, b"hello") is None
    [entry] = Tail(journal.directory).read()
    assert (entry.mid, entry.accepted, entry.outcome, entry.data) == (7, b"accepted 7", b"outcome", b"hello")
    assert read_content(entry.content) == b"hello"


async def test_spilled_content_is_named_by_its_record(journal: Journal) -> None:
    body = b"large " * 10_000
    assert await accept(journal, 7, body) is None
    [entry] = Tail(journal.directory).read()
    assert (entry.content.kind, entry.data) == ("file", None)
    assert read_content(entry.content) == body


async def test_all_that_wait_share_one_sync(tmp_path: Path) -> None:
    class Counting(Disk):
        syncs = 0

        def fdatasync(self, fd: int) -> None:
            self.syncs += 1
            super().fdatasync(fd)

    disk = Counting()
    journal = Journal.open(tmp_path / "gateway-0", SETTINGS, disk)
    before = disk.syncs
    results = await asyncio.gather(*(accept(journal, mid, b"x") for mid in range(1, 101)))
    assert results == [None] * 100
    assert disk.syncs == before + 1
    journal.close()


async def test_a_message_without_outcome_waits_for_it(journal: Journal) -> None:
    tail = Tail(journal.directory)
    assert await accept(journal, 7, b"hello", None) is None
    assert tail.read() == []
    assert await finish(journal, 7) is None
    [entry] = tail.read()
    assert (entry.mid, entry.outcome, read_content(entry.content)) == (7, b"late", b"hello")
    assert await finish(journal, 7, b"again") is None
    assert tail.read() == []


async def test_a_restart_hands_out_what_has_no_outcome(tmp_path: Path) -> None:
    first = Journal.open(tmp_path / "gateway-0", SETTINGS)
    for mid in range(1, 7):
        assert await accept(first, mid, b"body %d" % mid * mid * 900, b"o" if mid % 2 else None) is None
    assert await finish(first, 4) is None
    first.close()
    second = Journal.open(tmp_path / "gateway-0", SETTINGS)
    assert [(entry.mid, entry.accepted) for entry in second.recovered] == [(2, b"accepted 2"), (6, b"accepted 6")]
    assert [read_content(entry.content) for entry in second.recovered] == [b"body 2" * 1800, b"body 6" * 5400]
    seen: list[tuple[int, bytes]] = []
    second.scan(lambda record: seen.append((record.mid, record.outcome)))
    assert seen == [(1, b"o"), (2, b""), (3, b"o"), (4, b""), (5, b"o"), (6, b""), (4, b"late")]
    second.close()


async def test_the_tail_goes_on_where_it_was_stored(journal: Journal) -> None:
    for mid in range(1, 40):
        assert await accept(journal, mid, b"x" * 3000, b"o" if mid % 3 else None) is None
    tail = Tail(journal.directory)
    first = tail.read(30_000)
    for mid in range(3, 40, 3):
        assert await finish(journal, mid) is None
    again = Tail(journal.directory, Position.decode(tail.position.encode()))
    rest = again.read(10**9)
    mids = [entry.mid for entry in first + rest]
    assert sorted(mids) == list(range(1, 40))
    assert again.read() == []
    assert Tail(journal.directory, rest[-1].position).read() == []


async def test_a_segment_is_recycled_after_the_acknowledgement_and_never_before(journal: Journal) -> None:
    tail = Tail(journal.directory)
    for mid in range(1, 40):
        assert await accept(journal, mid, b"x" * (20_000 if mid == 3 else 5000)) is None
    journal._keeper.turn()
    assert generations(Disk(), journal.directory)[0] == 1
    content = journal.directory / "content"
    assert len(list(content.iterdir())) == 1
    entries = tail.read(10**9)
    newest = tail.acknowledgeable()
    assert 1 < newest < tail.position.generation
    acknowledge(journal.directory, newest)
    acknowledge(journal.directory, newest - 1)
    assert acknowledged(journal.directory) == newest
    await until(lambda: generations(Disk(), journal.directory)[0] == newest + 1)
    assert not list(content.iterdir())
    for mid in range(40, 80):
        assert await accept(journal, mid, b"y" * 5000) is None
    assert [entry.mid for entry in entries + tail.read(10**9)] == list(range(1, 80))


async def test_a_segment_with_an_unfinished_message_is_not_acknowledgeable(journal: Journal) -> None:
    assert await accept(journal, 1, b"x", None) is None
    for mid in range(2, 30):
        assert await accept(journal, mid, b"x" * 5000) is None
    tail = Tail(journal.directory)
    assert len(tail.read(10**9)) == 28
    assert tail.acknowledgeable() == 0
    assert Tail(journal.directory, tail.position).acknowledgeable() == 0, "not even when it was just opened"
    assert await finish(journal, 1) is None
    assert [entry.mid for entry in tail.read()] == [1]
    assert tail.acknowledgeable() == tail.position.generation - 1


async def test_a_segment_that_vanished_unacknowledged_is_damage(journal: Journal) -> None:
    for mid in range(1, 30):
        assert await accept(journal, mid, b"x" * 5000) is None
    segment_path(journal.directory, 2).unlink()
    with pytest.raises(JournalDamaged, match="nothing between"):
        Tail(journal.directory).read(10**9)


async def test_a_failed_sync_refuses_seals_and_heals(journal: Journal, disk: FaultyDisk) -> None:
    assert await accept(journal, 1, b"before") is None
    failing = [True]
    disk.fault = lambda call: call == "fdatasync" and bool(failing)
    results = await asyncio.gather(*(accept(journal, mid, b"during") for mid in range(2, 12)))
    assert all(isinstance(result, JournalUnavailable) for result in results)
    assert isinstance(journal.refusal, JournalUnavailable)
    assert isinstance(await accept(journal, 12, b"still"), JournalUnavailable)
    assert isinstance(await finish(journal, 1), JournalUnavailable)
    assert not journal.status()["healthy"]
    (concern,) = journal.condition().concerns
    assert (concern.check, concern.grave) == ("spool", False), "this one may use the reserve, as the queue's may"
    assert str(journal.directory) not in concern.text
    failing.clear()
    await until(lambda: journal.refusal is None)
    figures = {one.name: one.value for one in journal.condition().figures}
    assert journal.condition().concerns == ()
    assert figures["journal_refusing"] == 0
    assert figures["journal_commits_total"] >= 2
    assert figures["journal_commit_seconds_total"] > 0
    assert await accept(journal, 13, b"after") is None
    assert [entry.mid for entry in Tail(journal.directory).read()] == [1, 13]


async def test_no_space_for_spilled_content_refuses_this_message_only(journal: Journal, disk: FaultyDisk) -> None:
    disk.fault = lambda call: call == "write"
    content = journal.content()
    content.write(b"x" * 20_000)
    await until(lambda: content.failure is not None)
    disk.fault = lambda _call: False
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    journal.append(1, b"accepted", content, b"outcome", told.set_result)
    assert isinstance(await told, JournalUnavailable)
    assert await accept(journal, 2, b"small") is None
    await until(lambda: not list((journal.directory / "content").iterdir()))


async def test_the_backlog_is_bounded_until_it_is_acknowledged(tmp_path: Path) -> None:
    settings = JournalSettings(segment_bytes=64 * 1024, backlog_bytes=128 * 1024, reserve_bytes=0, keep_s=0.01)
    journal = Journal.open(tmp_path / "gateway-0", settings)
    mid = 1
    while (refused := await accept(journal, mid, b"x" * 6000)) is None:
        mid += 1
    assert isinstance(refused, JournalFull)
    assert 10 < mid < 30
    assert await finish(journal, 1) is None, "outcomes are not refused"
    tail = Tail(journal.directory)
    assert len(tail.read(10**9)) == mid - 1
    acknowledge(journal.directory, tail.acknowledgeable())
    await until(lambda: journal.refusal is None)
    assert await accept(journal, mid, b"again") is None
    journal.close()


async def test_the_reserve_is_left_to_the_queue(tmp_path: Path) -> None:
    class NearlyFull(Disk):
        free = 4

        def space(self, directory: Path) -> tuple[int, int]:
            return self.free, 100

    disk = NearlyFull()
    settings = JournalSettings(segment_bytes=64 * 1024, keep_s=0.01)
    gateway = Journal.open(tmp_path / "gateway-0", settings, disk)
    assert isinstance(await accept(gateway, 1, b"x"), JournalFull)
    disk.free = 5
    await until(lambda: gateway.refusal is None)
    assert await accept(gateway, 2, b"x") is None
    gateway.close()
    disk.free = 0
    queue = Journal.open(tmp_path / "delivery-queue", SETTINGS, disk)
    assert await accept(queue, 3, b"bounce") is None
    queue.close()


async def test_a_record_larger_than_a_segment_is_refused_alone(journal: Journal) -> None:
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    journal.append(1, b"a" * 70_000, journal.content(), b"o", told.set_result)
    assert isinstance(await told, JournalFull)
    assert await accept(journal, 2, b"x") is None


async def test_a_directory_has_one_owner(journal: Journal) -> None:
    with pytest.raises(JournalBusy):
        Journal.open(journal.directory, SETTINGS)


async def test_a_waiter_that_fails_keeps_nobody_waiting(journal: Journal) -> None:
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: problems.append(context))

    def broken(_failure: Exception | None) -> None:
        raise RuntimeError("broken session")

    journal.append(1, b"a", journal.content(), b"o", broken)
    assert await accept(journal, 2, b"x") is None
    assert "1" in str(problems[0]["message"])


async def test_restarts_in_a_row_do_not_fill_the_disk(tmp_path: Path) -> None:
    numbers = []
    for _ in range(6):
        journal = Journal.open(tmp_path / "gateway-0", SETTINGS)
        numbers.append(journal.status()["generation"])
        journal.close()
    assert len(set(numbers)) == 6
    assert len([name for name in (tmp_path / "gateway-0").iterdir() if name.suffix in (".segment", ".spare")]) <= 3


class FullDisk(Disk):
    """No room for another segment."""

    def open(self, path: Path, *, create: bool = False, write: bool = False, mode: int = 0o640) -> int:
        if path.suffix == ".filling":
            raise OSError(errno.ENOSPC, "injected", str(path))
        return super().open(path, create=create, write=write)


async def test_a_full_disk_keeps_no_journal_from_opening(tmp_path: Path) -> None:
    """It did: then nothing was read, acknowledged and reclaimed, so the disk stayed full for ever."""
    journal = Journal.open(tmp_path / "gateway-0", SETTINGS)
    for mid in range(1, 16):
        assert await accept(journal, mid, b"x" * 9000) is None
    assert await accept(journal, 16, b"no outcome", None) is None
    journal.close()
    for spare in journal.directory.glob("*.spare"):
        spare.unlink()
    journal = Journal.open(journal.directory, SETTINGS, FullDisk())
    assert isinstance(journal.refusal, JournalUnavailable)
    assert isinstance(await accept(journal, 17, b"x"), JournalUnavailable)
    assert [one.mid for one in journal.recovered] == [16]
    tail = Tail(journal.directory)
    assert [entry.mid for entry in tail.read(10**9)] == list(range(1, 16))
    acknowledge(journal.directory, generations(Disk(), journal.directory)[0])
    await until(lambda: journal.refusal is None)
    assert await accept(journal, 17, b"x") is None
    assert await finish(journal, 16) is None
    assert [entry.mid for entry in tail.read(10**9)] == [17, 16]
    journal.close()


async def test_orphans_are_adopted_and_the_first_free_directory_is_taken(tmp_path: Path) -> None:
    zero = open_free(tmp_path, "gateway", SETTINGS)
    one = open_free(tmp_path, "gateway", SETTINGS)
    assert [zero.directory.name, one.directory.name] == ["gateway-0", "gateway-1"]
    assert await accept(one, 5, b"orphan", None) is None
    one.close()
    (tmp_path / "gateway-2").mkdir()
    (tmp_path / "release-host").mkdir()
    [adopted] = open_orphans(tmp_path, "gateway", SETTINGS)
    assert [entry.mid for entry in adopted.recovered] == [5]
    assert await finish(adopted, 5) is None
    assert [entry.mid for entry in Tail(adopted.directory).read()] == [5]
    adopted.close()
    zero.close()


async def test_a_content_file_without_a_record_is_removed(tmp_path: Path) -> None:
    Journal.open(tmp_path / "gateway-0", SETTINGS).close()
    (tmp_path / "gateway-0" / "content" / "left-1.content").write_bytes(b"x")
    journal = Journal.open(tmp_path / "gateway-0", SETTINGS)
    assert not list((tmp_path / "gateway-0" / "content").iterdir())
    journal.close()


@pytest.mark.parametrize("wrong", [{"segment_bytes": 5000}, {"segment_bytes": 4096}, {"backlog_bytes": 4096}])
def test_sizes_that_cannot_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="segment_bytes"):
        JournalSettings(**wrong)  # type: ignore[arg-type]


def newer(directory: Path, version: int, compatible: int) -> Path:
    """Have the newest segment say that a later release wrote it; its CRC is right."""
    path = segment_path(directory, generations(Disk(), directory)[-1])
    page = bytearray(path.read_bytes())
    page[8:12] = version.to_bytes(2, "little") + compatible.to_bytes(2, "little")
    crc = decode_header.__globals__["_fields"].size
    page[crc : crc + 4] = crc32(page[:crc]).to_bytes(4, "little")
    path.write_bytes(page)
    return path


async def test_a_segment_of_a_release_that_is_too_new_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    """It was taken for a file without records, and recycled with the mail in it."""
    directory = tmp_path / "gateway-0"
    for body in (b"one", b"two"):
        journal = Journal.open(directory, SETTINGS)
        assert await accept(journal, 7, body) is None
        journal.close()
    path = newer(directory, LAYOUT.version + 1, LAYOUT.version + 1)
    (directory / "draft.filling").write_bytes(b"")
    before = files_below(tmp_path)
    with pytest.raises(FormatRefused, match=f"{path.name}: has layout 2, which needs a release that knows layout 2"):
        Journal.open(directory, SETTINGS)
    tail = Tail(directory)
    with pytest.raises(FormatRefused):
        tail.read()
    assert tail.position == Position()
    assert files_below(tmp_path) == before
    with pytest.raises(FormatRefused):
        open_free(tmp_path, "gateway", SETTINGS)


async def test_a_newer_segment_that_this_release_may_follow_is_read(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, SETTINGS)
    assert await accept(journal, 7, b"hello") is None
    journal.close()
    newer(tmp_path, LAYOUT.version + 1, LAYOUT.version)
    journal = Journal.open(tmp_path, SETTINGS)
    [entry] = Tail(tmp_path).read()
    assert (entry.mid, entry.data) == (7, b"hello")
    journal.close()


async def test_a_segment_whose_first_page_is_damaged_is_kept(tmp_path: Path) -> None:
    """It was recycled: one bad page took with it all that the segment held."""
    journal = Journal.open(tmp_path, SETTINGS)
    assert await accept(journal, 7, b"hello") is None
    journal.close()
    path = segment_path(tmp_path, generations(Disk(), tmp_path)[-1])
    damaged = bytearray(path.read_bytes())
    damaged[20] ^= 1
    path.write_bytes(damaged)
    journal = Journal.open(tmp_path, SETTINGS)
    assert journal.damaged == 1
    journal.close()
    assert path.with_suffix(".unreadable").read_bytes() == damaged
    journal = Journal.open(tmp_path, SETTINGS)
    assert generations(Disk(), tmp_path)[-1] > int(path.stem)
    journal.close()
    assert path.with_suffix(".unreadable").read_bytes() == damaged


async def test_content_that_a_damaged_segment_names_is_kept_and_told_until_it_is_looked_after(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was removed as content without a record: a repair of the segment could not give the mail back."""
    body = b"large " * 10_000
    journal = Journal.open(tmp_path, SETTINGS)
    assert await accept(journal, 7, body) is None
    journal.close()
    path = segment_path(tmp_path, generations(Disk(), tmp_path)[-1])
    damaged = bytearray(path.read_bytes())
    damaged[20] ^= 1
    path.write_bytes(damaged)
    for _ in "12":
        journal = Journal.open(tmp_path, SETTINGS)
        [concern] = journal.condition().concerns
        journal.close()
        assert f"accepted mail may be in what cannot be read: {tmp_path}/{path.stem}.unreadable" in concern.text
        assert concern.text in capfd.readouterr().err
        assert [one.read_bytes() for one in (tmp_path / "content").iterdir()] == [body]
    path.with_suffix(".unreadable").unlink()
    journal = Journal.open(tmp_path, SETTINGS)
    assert journal.condition().concerns == ()
    journal.close()
    assert list((tmp_path / "content").iterdir()) == []
