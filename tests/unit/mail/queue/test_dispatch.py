"""`mail.queue.dispatch` and `watch` on a whole queue: connections that stand still, are gone, or may not be had."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mail.delivery.courier import Busy, Carried, Job
from mail.queue.dispatch import Dispatcher
from mail.queue.watch import Patience
from protocol.reply import Reply
from tests.support.queue_machine import FakeLine, Machine


async def never(job: Job, dcid: int) -> Sequence[Carried]:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_connection_that_stands_still_is_given_up_and_its_message_waits(tmp_path: Path) -> None:
    machine = Machine(tmp_path, patience=Patience(step_s=0.3))
    machine.courier.behave = never
    queue = await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having("is stuck"))
    (line,) = machine.log.having("is stuck")
    assert line.startswith(f"DCID 1 to there.test is stuck while sending MID {mid}: no progress for ")
    await machine.until(lambda: machine.log.having("pending till"))
    assert machine.counters.counts["stuck_connections"] == 1
    assert queue._scheduler.connections == 0
    machine.courier.behave = None
    machine.time += 100
    await machine.until(lambda: machine.courier.mids() == [mid])
    await machine.close()


async def test_an_opening_that_stands_still_counts_as_no_connection(tmp_path: Path) -> None:
    machine = Machine(tmp_path, patience=Patience(open_s=0.3))
    opens = asyncio.Event()

    async def slow(destination: str, target: str, wish: str = "") -> FakeLine:
        await opens.wait()
        return FakeLine(machine.courier, 9)

    machine.courier.open = slow  # type: ignore[method-assign]
    queue = await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having("pending till"))
    assert machine.log.having(f"DCID 0 to there.test is stuck while connecting for MID {mid}")
    assert queue.views.hoststatus("there.test")["limiting_rule"].startswith("host down until ")
    opens.set()
    machine.time += 100
    await machine.until(lambda: machine.courier.mids() == [mid])
    await machine.close()


async def test_a_connection_that_moves_is_not_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, patience=Patience(step_s=0.5))
    monkeypatch.setattr(FakeLine, "moves", True)

    async def slow(job: Job, dcid: int) -> Sequence[Carried]:
        await asyncio.sleep(2.2)
        return [Carried(one.rid, "delivered", 250, "", "ok") for one in job.recipients]

    machine.courier.behave = slow
    await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.mids() == [mid])
    assert not machine.log.having("is stuck")
    await machine.close()


async def test_a_kept_connection_that_the_peer_closed_is_no_failure(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    lines: list[FakeLine] = []
    opened = machine.courier.open

    async def remember(destination: str, target: str, wish: str = "") -> FakeLine:
        line = await opened(destination, target)
        assert isinstance(line, FakeLine)
        lines.append(line)
        return line

    machine.courier.open = remember  # type: ignore[method-assign]
    queue = await machine.start()
    first = await machine.accept("b@there.test")
    await machine.until(lambda: queue._scheduler.destination(("there.test", "")).idle)
    lines[0].usable = False
    second = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.mids() == [first, second])
    assert machine.courier.opened == 2
    assert not machine.log.having("Delayed")
    assert queue.views.hoststatus("there.test")["state"] == "up"
    await machine.close()


async def test_a_new_connection_takes_the_rest_right_after_the_last_message_of_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path, limits={"connections": 1, "messages_per_connection": 3})
    await machine.start()
    mids = [await machine.accept("b@there.test") for _ in range(10)]
    await machine.until(lambda: machine.courier.mids() == mids)
    assert machine.courier.opened == 4
    await machine.close()


async def test_no_free_address_is_tried_again_without_blame(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.courier.refuse = Busy(Reply(451, "4.4.5", "each address of there.test has 2 connections"))
    queue = await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: queue._scheduler.destinations)
    await machine.until(lambda: "each address" in (queue.views.hoststatus("there.test")["limiting_rule"] or ""))
    machine.courier.refuse = None
    machine.time += 2
    await machine.until(lambda: machine.courier.mids() == [mid])
    assert not machine.log.having("Delayed")
    await machine.close()


async def test_recipients_of_an_interval_hold_the_rest_back_until_it_ends(tmp_path: Path) -> None:
    machine = Machine(tmp_path, limits={"recipient_limit": 2, "recipient_minutes": 1})
    queue = await machine.start()
    mids = [await machine.accept("b@there.test") for _ in range(5)]
    await machine.until(lambda: len(machine.courier.carried) == 2)
    await machine.until(
        lambda: "recipients per interval: 2 of 2" in queue.views.hoststatus("there.test")["limiting_rule"]
    )
    machine.time += 61
    await machine.until(lambda: len(machine.courier.carried) == 4)
    machine.time += 61
    await machine.until(lambda: sorted(machine.courier.mids()) == mids)
    await machine.close()


async def test_one_sender_with_much_mail_does_not_delay_another(tmp_path: Path) -> None:
    """Everything is in the index; of 400 messages the other sender's is among the first 60."""
    machine = Machine(tmp_path, ready_limit=20, limits={"connections": 1})
    queue = await machine.start()
    await queue._suspension.suspend(None, None)
    for _ in range(400):
        await machine.accept("b@there.test")
    other = await machine.accept("b@there.test", sender="ann@else.test")
    await machine.until(lambda: queue._scheduler.destination(("there.test", "")).stored == 401)
    queue._suspension.resume(None)
    await machine.until(lambda: other in machine.courier.mids())
    assert machine.courier.mids().index(other) < 60
    await machine.close()


async def test_a_stop_does_not_wait_for_hosts_that_do_not_answer(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    opened = machine.courier.open

    async def silent(destination: str, target: str, wish: str = "") -> FakeLine:
        await asyncio.Event().wait()
        raise AssertionError

    machine.courier.open = silent  # type: ignore[method-assign]
    queue = await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: queue._scheduler.connections == 1)
    async with asyncio.timeout(30):
        await machine.stop()
    machine.courier.open = opened  # type: ignore[method-assign]
    await machine.start()
    await machine.until(lambda: machine.courier.mids() == [mid])
    await machine.close()


def _right_after_a_plan(dispatcher: Dispatcher, act: Callable[[], None]) -> None:
    """Have something happen whenever a plan has opened connections, before their first step."""
    plan = dispatcher._plan

    def plan_and_act() -> None:
        plan()
        if dispatcher._slots:
            act()

    dispatcher._plan = plan_and_act  # type: ignore[method-assign]


async def test_a_connection_cut_before_its_first_step_does_not_keep_its_message_for_ever(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    queue = await machine.start()
    dispatcher = queue._dispatcher
    plan = dispatcher._plan

    def cut() -> None:
        dispatcher._plan = plan  # type: ignore[method-assign]
        assert dispatcher.let_go(lambda _: True, "cut, since delivery was suspended") == 1

    _right_after_a_plan(dispatcher, cut)
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.mids() == [mid])
    assert machine.courier.opened == 1
    await machine.until(lambda: queue._scheduler.connections == 1)
    await machine.close()


async def test_a_stop_right_after_a_plan_does_not_wait_for_connections_that_never_began(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    queue = await machine.start()
    dispatcher = queue._dispatcher

    def stop() -> None:
        queue._scheduler.stopped = "the service stops"
        dispatcher.give_up_openings()

    _right_after_a_plan(dispatcher, stop)
    await machine.accept("b@there.test")
    await machine.until(lambda: queue._scheduler.stopped)
    await machine.until(lambda: not dispatcher.open_lines, 2)
    assert not machine.courier.opened
    await machine.close()


async def test_what_comes_back_from_a_connection_that_was_gone_does_not_use_up_the_limit_of_its_address(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, limits={"recipient_limit": 2, "per_address": True})
    lines: list[FakeLine] = []
    opened = machine.courier.open

    async def remember(destination: str, target: str, wish: str = "") -> FakeLine:
        line = await opened(destination, target)
        assert isinstance(line, FakeLine)
        lines.append(line)
        return line

    async def gone_at_the_second(job: Job, dcid: int) -> Sequence[Carried]:
        if dcid == 1 and machine.courier.carried:
            lines[0].usable = False
            return [Carried(one.rid, "returned", 0, "", "the connection was gone") for one in job.recipients]
        return [Carried(one.rid, "delivered", 250, "2.0.0", "ok") for one in job.recipients]

    machine.courier.open = remember  # type: ignore[method-assign]
    machine.courier.behave = gone_at_the_second
    queue = await machine.start()
    first = await machine.accept("b@there.test")
    await machine.until(lambda: queue._scheduler.destination(("there.test", "")).idle)
    second = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.mids() == [first, second], 3)
    await machine.close()
