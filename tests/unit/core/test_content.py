import asyncio
import errno
from pathlib import Path
from zlib import crc32

import pytest

from core.content import HEAD_BYTES, Content, ContentSettings, ContentStore
from core.disk import Disk
from tests.support.waiting import until

SMALL = ContentSettings(inline_bytes=1000, memory_bytes=20_000, high_water_bytes=4000, low_water_bytes=1000)


class FullDisk(Disk):
    def write(self, fd: int, buffers: object, offset: int) -> int:
        raise OSError(errno.ENOSPC, "no space left")


async def settle(content: Content) -> OSError | None:
    told: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    content.settle(told.set_result)
    async with asyncio.timeout(30):
        return await told


async def emptied(directory: Path) -> bool:
    await until(lambda: not list(directory.iterdir()))
    return True


async def test_small_content_stays_in_memory_without_a_copy(tmp_path: Path) -> None:
    content = ContentStore(tmp_path, SMALL).new()
    chunk = b"x" * 1000
    content.write(chunk)
    assert content.inline is chunk
    assert (content.size, content.file, list(tmp_path.iterdir())) == (1000, None, [])
    assert await settle(content) is None


async def test_large_content_goes_to_a_file_in_order(tmp_path: Path) -> None:
    content = ContentStore(tmp_path, SMALL).new()
    data = bytes(range(256)) * 200
    for at in range(0, len(data), 700):
        content.write(data[at : at + 700])
    assert content.inline is None
    assert await settle(content) is None
    assert content.file is not None
    assert content.file.read_bytes() == data == b"".join(content.chunks())
    assert content.crc == crc32(data)
    assert content.head == data, "no empty line in it"


@pytest.mark.parametrize("step", [1, 3, 700])
@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n"])
async def test_of_spilled_content_the_header_section_stays_in_memory_and_counts(
    tmp_path: Path, end: bytes, step: int
) -> None:
    store = ContentStore(tmp_path, ContentSettings(inline_bytes=100, memory_bytes=20_000))
    content = store.new()
    head = b"Subject: x\r\n" * 20 + b"To: y" + end
    data = head + b"Z: no header\r\n\r\n" * 200
    for at in range(0, len(data), step):
        content.write(data[at : at + step])
    assert await settle(content) is None
    assert (content.head, store.held) == (head, len(head))
    content.release()
    assert store.held == 0


async def test_content_without_a_header_section_keeps_the_empty_line_only(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, SMALL)
    content = store.new()
    content.write(b"\r\n" + b"body\r\n" * 1000)
    assert await settle(content) is None
    assert content.head == b"\r\n"
    content.discard()


async def test_a_header_section_without_end_is_kept_up_to_the_bound(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    content = store.new()
    for _ in range(30):
        content.write(b"h" * 10_000)
    assert await settle(content) is None
    assert (len(content.head), store.held) == (HEAD_BYTES, HEAD_BYTES)
    content.discard()
    assert store.held == 0


async def test_a_message_larger_than_memory_keeps_memory_flat(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    content = store.new()
    drained = asyncio.Event()
    content.on_drained = drained.set
    most, chunk = 0, bytes(256 * 1024)
    for _ in range(200):
        content.write(chunk)
        most = max(most, store.held)
        if content.congested:
            drained.clear()
            async with asyncio.timeout(10):
                await drained.wait()
    assert await settle(content) is None
    assert content.size == 50 * 1024 * 1024
    assert content.file is not None
    assert content.file.stat().st_size == content.size
    assert most < 3 * 1024 * 1024
    assert store.held == HEAD_BYTES, "it never said where its header section ends"


async def test_the_common_budget_spills_small_messages(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, SMALL)
    contents = [store.new() for _ in range(30)]
    for content in contents:
        content.write(b"y" * 900)
    assert [content.file is None for content in contents] == [True] * 22 + [False] * 8
    for content in contents:
        content.discard()
    assert store.held == 0
    assert await emptied(tmp_path)


async def test_discard_during_a_write_removes_the_file(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, SMALL)
    content = store.new()
    content.write(b"z" * 100_000)
    content.discard()
    content.discard()
    content.write(b"late")
    assert store.held == 0
    await asyncio.sleep(0)
    store.submit(lambda: None)
    await until(lambda: not content._inflight)
    assert await emptied(tmp_path)


async def test_no_space_is_reported_and_leaves_no_file(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, SMALL, FullDisk())
    content = store.new()
    content.write(b"z" * 5000)
    failure = await settle(content)
    assert failure is not None
    assert failure.errno == errno.ENOSPC
    content.write(b"more")
    assert (content.congested, store.held) == (False, 0)
    assert await emptied(tmp_path)


async def test_released_content_leaves_its_file_and_gives_memory_back(tmp_path: Path) -> None:
    store = ContentStore(tmp_path, SMALL)
    content = store.new()
    content.write(b"z" * 5000)
    assert await settle(content) is None
    content.release()
    content.discard()
    store.close()
    assert len(list(tmp_path.iterdir())) == 1
    assert store.held == 0


@pytest.mark.parametrize("size", [0, 1])
async def test_almost_nothing_is_content_too(tmp_path: Path, size: int) -> None:
    content = ContentStore(tmp_path, SMALL).new()
    content.write(b"q" * size)
    assert content.inline == b"q" * size == content.head == b"".join(content.chunks())
