"""Moving deferred content on a disk that is nearly full."""

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.disk import Disk
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path, patience_s=0.0)
    yield one
    await one.close()


async def defer(machine: Machine) -> None:
    """Have a full segment of mail that waits, committed to the index."""
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "away"))
    queue = await machine.start()
    for _ in range(12):
        await machine.accept("b@there.test", content=b"x" * 100_000)
    await machine.until(lambda: queue._checkpointer.acknowledgeable.get("gateway-0"))


def packs(machine: Machine) -> list[Path]:
    return list((machine.root / "spool" / "queue" / "content").iterdir())


async def test_moving_content_leaves_the_last_of_the_disk_to_the_index(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took what the journals leave free; then the index could not be written, and nothing was delivered any more."""
    monkeypatch.setattr(Disk, "space", lambda _disk, _path: (200_000, 2_000_000))
    await defer(machine)
    await machine.until(lambda: machine.log.having("too full to move"))
    assert sum(pack.stat().st_size for pack in packs(machine)) <= 150_000


async def test_a_copy_that_failed_leaves_no_pack(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one stayed until the next start, on a disk that was full."""
    write = Disk.write

    def full(disk: Disk, fd: int, buffers: Any, offset: int) -> int:
        if offset > 300_000 and "/queue/content/" in os.readlink(f"/proc/self/fd/{fd}"):
            raise OSError(errno.ENOSPC, "injected")
        return write(disk, fd, buffers, offset)

    monkeypatch.setattr(Disk, "write", full)
    await defer(machine)
    await machine.until(lambda: machine.log.having("cannot be reclaimed"))
    assert packs(machine) == []
