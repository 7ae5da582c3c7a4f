"""`mail.workqueue`: the order that pauses, and what waits in the journal meanwhile."""

import asyncio
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.journal import Journal, JournalSettings
from core.record import Accepted, Outcome, Recipient, encode
from mail.workqueue import Order, Pause

SMALL = JournalSettings(segment_bytes=1 << 20, backlog_bytes=64 << 20, reserve_bytes=0, keep_s=0.02)


def test_an_order_holds_for_every_process_and_over_a_restart_until_it_is_taken_back(tmp_path: Path) -> None:
    pause = Pause(tmp_path / "workqueue.json")
    assert not pause.on
    order = Order("ann", "scanner upgrade", 5.0)
    pause.give(order)
    sibling = Pause(tmp_path / "workqueue.json")
    assert sibling.order == order
    pause.give(None)
    sibling.look()
    assert not sibling.on


def test_an_order_that_cannot_be_read_does_not_resume_by_itself(tmp_path: Path) -> None:
    (tmp_path / "workqueue.json").write_text("{")
    with pytest.raises(GatepostError, match="remove the file to resume") as caught:
        Pause(tmp_path / "workqueue.json")
    assert caught.value.status == 78


async def test_what_waits_is_read_again_from_the_journal_in_its_order(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal", SMALL)

    async def append(mid: int, outcome: Outcome | None) -> None:
        content = journal.content()
        content.write(b"x" * mid)
        accepted = encode(Accepted(mid, 1, 0.0, "a@b.test", [Recipient(0, "c@d.test")], mid))
        told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        journal.append(mid, accepted, content, None if outcome is None else encode(outcome), told.set_result)
        assert await told is None

    for mid in (1, 2, 3, 4):
        await append(mid, Outcome(mid, "deliver") if mid == 2 else None)
    wanted = {1: None, 2: None, 4: None}
    assert [one.mid for one in journal.waiting(wanted)] == [1, 4]
    walk = journal.waiting(wanted)
    assert next(walk).content.length == 1
    del wanted[4]  # removed meanwhile
    assert list(walk) == []
    journal.close()
