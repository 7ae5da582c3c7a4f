"""`mail.workqueue`: the order that pauses, and what waits in the journal meanwhile."""

import asyncio
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.journal import Journal, JournalSettings
from core.record import Accepted, Outcome, Recipient, encode
from mail import workqueue as module
from mail.workqueue import Order, Pause, WorkQueue
from tests.support.gateway import gateway
from tests.support.service import running
from tests.support.waiting import until

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


async def test_a_message_whose_record_is_lost_is_let_go_after_one_walk_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stayed in the list, and the whole journal was read for it five times a second."""
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    with gateway(tmp_path) as under_test:
        pause = Pause(tmp_path / "workqueue.json")
        queue = WorkQueue(under_test.intake, under_test.journal, pause, log=under_test.intake.log)
        pause.give(Order("ann", "scanner upgrade", 5.0))
        client = under_test.connect()
        client.say("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@example.test>")
        await client.deliver(b"Subject: x\r\n\r\n")
        (mid,) = under_test.intake.held
        under_test.intake.held[mid + 1] = None
        pause.give(None)
        async with running(queue):
            await until(lambda: not under_test.intake.held)
        lines = under_test.lines()
        assert f"Info: MID {mid} queued for delivery" in lines
        assert [line for line in lines if line.startswith("Critical")] == [
            f"Critical: MID {mid + 1} waited in the work queue, and the journal has no record of it any more"
        ]
