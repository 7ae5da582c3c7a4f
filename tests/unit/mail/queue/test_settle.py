"""`mail.queue.settle`: what an operator does to parcels in memory, through the whole queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mail.bounce.profile import BounceProfile
from mail.delivery.courier import Carried, Job
from mail.queue.message import Parcel
from mail.queue.queue import DeliveryQueue
from mail.queue.state import State
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path)
    yield one
    await one.close()


def rows(machine: Machine) -> list[tuple[object, ...]]:
    assert machine.queue is not None
    return machine.queue._database.submit(lambda db: db.query("SELECT mid, rid FROM recipient")).result()


def parcels(queue: DeliveryQueue, mid: int) -> list[Parcel]:
    return queue._book.messages[mid].parcels if mid in queue._book.messages else []


async def waiting(machine: Machine) -> tuple[DeliveryQueue, int, Parcel]:
    """Give a parcel that failed a moment ago and waits, still in memory."""
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "x"), "refused")
    machine.profile = BounceProfile(jitter=0.0, initial_retry_s=5)  # due soon: it stays in memory
    queue = await machine.start()
    mid = await machine.accept("b@there.test", "c@there.test")
    await machine.until(lambda: [one for one in parcels(queue, mid) if one.state is State.WAITING])
    return queue, mid, parcels(queue, mid)[0]


async def test_a_waiting_parcel_is_deleted_with_a_line_and_no_bounce(machine: Machine) -> None:
    queue, mid, parcel = await waiting(machine)
    assert queue._settlement.deleted(parcel)
    assert machine.log.having("Deleted: ") == [f"Deleted: MID {mid} to [0, 1]"]
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid} done"))
    await machine.until(lambda: not rows(machine))
    assert machine.counters.counts["deleted_recips"] == machine.counters.counts["completed_recips"] == 2
    assert "gen_bounce_recips" not in machine.counters.counts
    status = queue.views.hoststatus("there.test")
    assert (status["gauges"]["active_recips"], status["counters"]["deleted_recips"]) == (0, 2)


async def test_a_waiting_parcel_is_returned_to_its_sender(machine: Machine) -> None:
    queue, mid, parcel = await waiting(machine)
    assert queue._settlement.bounced_by_operator(parcel)
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid} done"))
    assert machine.counters.counts["other_hard_bounced_recips"] == 2
    assert machine.counters.counts["gen_bounce_recips"] == 1
    assert len(machine.log.having("Bounced: DCID 0")) == 2
    machine.courier.refuse = None
    machine.time += 100
    await machine.until(lambda: machine.courier.carried)
    assert b"returned by an administrator" in machine.courier.carried[0][2]


async def test_a_ready_parcel_leaves_its_line(tmp_path: Path) -> None:
    machine = Machine(tmp_path, limits={"connections": 1})
    gate = asyncio.Event()

    async def slow(job: Job, dcid: int) -> Sequence[Carried]:
        await gate.wait()
        return [Carried(one.rid, "delivered", 250, "", "ok") for one in job.recipients]

    machine.courier.behave = slow
    queue = await machine.start()
    sent = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.began)
    first, second = await machine.accept("b@there.test"), await machine.accept("b@there.test")
    await machine.until(lambda: len(queue._scheduler.destination(("there.test", "")).ready) == 2)
    assert queue._settlement.deleted(parcels(queue, first)[0])
    gate.set()
    await machine.until(lambda: machine.courier.mids() == [sent, second])
    assert machine.courier.began == [sent, second]
    await machine.close()


async def test_a_parcel_on_a_connection_is_left_alone(machine: Machine) -> None:
    gate = asyncio.Event()

    async def slow(job: Job, dcid: int) -> Sequence[Carried]:
        await gate.wait()
        return [Carried(one.rid, "delivered", 250, "", "ok") for one in job.recipients]

    machine.courier.behave = slow
    queue = await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.began)
    parcel = parcels(queue, mid)[0]
    assert not queue._settlement.deleted(parcel)
    assert not queue._settlement.bounced_by_operator(parcel)
    gate.set()
    await machine.until(lambda: machine.courier.mids() == [mid])
