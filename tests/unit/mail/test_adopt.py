import asyncio
from functools import partial
from pathlib import Path

from core.journal.adopt import open_free, without_owner
from core.journal.journal import Journal, JournalSettings
from core.journal.tail import Tail
from core.lifecycle import Activities, Signals, run_service
from core.record import Accepted, Recipient, decode_outcome, encode
from mail.adopt import Adoption
from mail.intake import Intake, IntakeSettings
from mail.workqueue import Pause, WorkQueues
from tests.support.gateway import gateway
from tests.support.waiting import until

SETTINGS = JournalSettings(segment_bytes=1 << 20, backlog_bytes=1 << 26, reserve_bytes=0)


async def accept(journal: Journal, mid: int) -> None:
    sink = journal.content()
    sink.write(b"Subject: x\r\n\r\n")
    told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    accepted = Accepted(mid, 1, 0.0, "a@b", [Recipient(0, "c@d")], 14)
    journal.append(mid, encode(accepted), sink, None, told.set_result)
    assert await told is None


async def test_a_gateway_that_remains_finishes_what_a_dead_sibling_accepted(tmp_path: Path) -> None:
    """It waited for the next start of a gateway, and its journal was never reclaimed."""
    own, sibling, busy = (open_free(tmp_path, "gateway", SETTINGS) for _ in range(3))
    await accept(sibling, 7)
    await accept(busy, 8)
    sibling.close()
    assert without_owner(tmp_path, "gateway") == {sibling.directory}
    with gateway(tmp_path / "gateway") as under_test:
        log = under_test.log
        work = WorkQueues(Pause(tmp_path / "workqueue.json"), log)
        adoption = Adoption(
            partial(without_owner, tmp_path, "gateway"),
            partial(Journal.open, settings=SETTINGS),
            lambda journal: Intake(
                IntakeSettings("esa.example.test"), journal, under_test.pipeline, log=log, counters=under_test.counters
            ),
            work.add,
            log=log,
            look_s=0.02,
        )
        signals = Signals([adoption.name])
        running = asyncio.get_running_loop().create_task(run_service(adoption, signals, Activities()))
        tail = Tail(sibling.directory)
        entries = await until(tail.read)
        assert [(entry.mid, decode_outcome(entry.outcome).verdict) for entry in entries] == [(7, "deliver")]
        assert without_owner(tmp_path, "gateway") == set(), "it is kept, so that its segments are reclaimed"
        assert [line for line in under_test.lines() if "adopted" in line] == [
            "Warning: Journal gateway-1 is adopted: its gateway is gone"
        ]
        signals.stopping.set()
        await running
    assert Tail(busy.directory).read() == []
    busy.close()
    own.close()


async def test_what_a_dead_sibling_accepted_waits_while_the_work_queue_is_paused_and_is_found(tmp_path: Path) -> None:
    """It went through the pipeline, and no verb knew of it."""
    sibling = open_free(tmp_path, "gateway", SETTINGS)
    for mid in (7, 8):
        await accept(sibling, mid)
    sibling.close()
    with gateway(tmp_path / "gateway") as under_test:
        log, counters, pipeline = under_test.log, under_test.counters, under_test.pipeline
        work = WorkQueues(Pause(tmp_path / "workqueue.json"), log)
        verbs = work.verbs()
        own = Journal.open(tmp_path / "own", SETTINGS)
        settings = IntakeSettings("esa.example.test")
        work.add(Intake(settings, own, pipeline, log=log, counters=counters), own)
        await verbs["workqueue_pause"]({"who": "ann"})
        adoption = Adoption(
            partial(without_owner, tmp_path, "gateway"),
            partial(Journal.open, settings=SETTINGS),
            lambda journal: Intake(settings, journal, pipeline, log=log, counters=counters),
            work.add,
            log=log,
            look_s=0.02,
        )
        signals = Signals([adoption.name])
        running = asyncio.get_running_loop().create_task(run_service(adoption, signals, Activities()))
        tail = Tail(sibling.directory)

        async def found_both() -> bool:
            return bool((await verbs["workqueue"]({}))["messages"] == 2)

        await until(found_both)
        assert (await verbs["message"]({"mid": "7"}))["where"] == "work queue"
        assert (await verbs["remove_message"]({"mid": "8"})) == {"recipients": 1}
        await verbs["workqueue_resume"]({})
        found: dict[int, str] = {}

        def decided() -> bool:
            found.update((entry.mid, decode_outcome(entry.outcome).verdict) for entry in tail.read())
            return len(found) == 2

        await until(decided)
        assert found == {7: "deliver", 8: "drop"}
        signals.stopping.set()
        await running
        own.close()
