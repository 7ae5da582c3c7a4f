"""Reading the journals while something is wrong with them."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.disk import Disk
from core.ids import IdBlocks
from core.journal import Tail
from core.journal.segment import generations, segment_path
from mail.queue import checkpoint
from mail.queue.importer import Importer
from mail.queue.schedule import Scheduler
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path)
    yield one
    await one.close()


async def test_a_journal_that_cannot_be_read_at_the_moment_is_read_later(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One moment without descriptors stopped the mail of a journal until the next restart."""
    out_of_descriptors = [True]
    opened = Disk.open

    def without(disk: Disk, path: Path, **how: Any) -> int:
        if out_of_descriptors and path.suffix == ".segment" and path.parent.name == "gateway-0":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return opened(disk, path, **how)

    mid = await machine.accept("b@there.test")
    monkeypatch.setattr(Disk, "open", without)
    queue = await machine.start()
    await machine.until(lambda: machine.log.having("cannot be read now"))
    assert not queue.importer.caught_up, "else recipients that are done would be delivered to again"
    assert any("Too many open files" in trouble for trouble in queue._health())
    out_of_descriptors.clear()
    queue.importer.poke()
    await machine.until(lambda: machine.courier.mids() == [mid])
    assert machine.log.having("can be read again")
    assert len(machine.log.having("cannot be read now")) == 1
    assert not queue._health()


async def test_messages_that_are_gone_from_a_journal_are_missed_aloud(machine: Machine) -> None:
    """A segment that had become shorter was read as if nothing had stood in the rest."""
    mids = [await machine.accept("b@there.test", content=b"x" * 9000) for _ in range(4)]
    folder = machine.journal.directory
    (newest,) = generations(Disk(), folder)[-1:]
    os.truncate(segment_path(folder, newest), 4096 + 2 * 12_288)
    await machine.start()
    await machine.until(lambda: machine.log.having("messages are lost"))
    assert machine.courier.mids() == mids[: len(machine.courier.mids())]
    assert len(machine.courier.mids()) < 4


async def test_a_message_with_the_number_of_another_is_not_dropped_in_silence(machine: Machine) -> None:
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "away"))
    await machine.start()
    mid = await machine.accept("b@there.test")
    machine.mids = IdBlocks(machine.root / "spool" / "other", floor=mid)
    assert await machine.accept("c@there.test") == mid
    await machine.until(lambda: machine.log.having("number of another message"))
    assert machine.queue is not None
    assert machine.queue._book.segments["gateway-0", 1] >= 1, "its segment stays"


@pytest.mark.parametrize("place", ["_pair", "_take", "add", "acknowledgeable", "_describe"])
async def test_what_memory_did_not_suffice_for_is_read_again_after_a_restart(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The last checkpoint of a daemon that ended by such an error stored how far it had read, not what."""
    mids = [await machine.accept("b@there.test") for _ in range(6)]
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "away"))
    owner: Any = {"_pair": Tail, "_take": Importer, "add": Scheduler, "acknowledgeable": Importer}.get(
        place, checkpoint
    )
    works, calls = getattr(owner, place), [0]

    def short(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == (1 if place == "acknowledgeable" else 4):
            raise MemoryError
        return works(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, place, short)
        await machine.start()
        assert machine._runner is not None
        await asyncio.wait([machine._runner], timeout=10)
        assert machine._runner.exception() is not None, "it ends by itself"
    machine._runner = None
    machine._close_own()
    machine.courier.refuse = None
    machine.time = 10_000.0
    await machine.start()
    await machine.until(lambda: set(machine.courier.mids()) >= set(mids))
