"""`mail.queue.operate`: verbs over many recipients, in memory and in the index, and what a crash leaves of them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.errors import GatepostError
from mail.delivery.courier import Carried, Job
from mail.queue.operate import KEPT
from mail.queue.reroute import route_name
from mail.queue.select import Selector
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine

DOWN = TemporaryFailure(Reply(451, "4.4.1", "nobody there"), "nobody there")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path, always=("the.cpq.host",))
    one.courier.refuse = DOWN
    yield one
    await one.close()


async def operate(machine: Machine, action: str, **args: Any) -> dict[str, Any]:
    assert machine.queue is not None
    verbs = machine.queue.verbs()
    document: dict[str, Any] = await verbs["operate"]({"action": action, **args})
    while document["state"] not in ("done", "stopped", "failed"):
        document = await verbs["operation"]({"id": document["id"], "wait_s": 1})
    return document


def numbers(document: dict[str, Any]) -> tuple[str, int, int, int]:
    return (document["state"], document["messages"], document["recipients"], document["busy"])


async def waiting(machine: Machine) -> set[tuple[str, str]]:
    assert machine.queue is not None
    lines = (await machine.queue.views.showrecipients(Selector()))["recipients"]
    return {(line["mid"], line["recipient"]) for line in lines}


async def settled(machine: Machine, recipients: int) -> None:
    """Wait until everything is in the index and nothing in memory."""
    queue = machine.queue
    assert queue is not None
    await machine.until(
        lambda: (
            not queue._book.messages
            and sum(one.stored for one in queue._scheduler.destinations.values()) == recipients
            and not queue._book.changed
        )
    )


async def test_recipients_of_a_host_are_deleted_wherever_they_are_and_the_others_stay(machine: Machine) -> None:
    await machine.start()
    old = [await machine.accept(f"a{n}@dead.test", f"b{n}@else.test") for n in range(5)]
    await settled(machine, 10)
    new = await machine.accept("new@dead.test")
    await machine.until(lambda: machine.queue and machine.queue._scheduler.by_name["dead.test"][0].active == 6)
    assert numbers(await operate(machine, "delete", host="DEAD.test", dry_run=True)) == ("done", 6, 6, 0)
    assert len(await waiting(machine)) == 11
    assert numbers(await operate(machine, "delete", host="DEAD.test")) == ("done", 6, 6, 0)
    left = {(str(mid), f"b{n}@else.test") for n, mid in enumerate(old)}
    assert await waiting(machine) == left
    assert machine.counters.counts["deleted_recips"] == 6
    assert "gen_bounce_recips" not in machine.counters.counts
    assert machine.log.having(f"Deleted: MID {new} to [0]")
    assert machine.log.having(f"Message finished MID {new} done")
    await machine.crash()
    machine.courier.refuse = None
    queue = await machine.start()
    await queue.verbs()["deliver_now"]({"all": True})
    await machine.until(lambda: not queue._scheduler.by_name["else.test"][0].active)
    assert sorted(machine.courier.mids()) == sorted(old)
    assert not queue._scheduler.by_name.get("dead.test") or not queue._scheduler.by_name["dead.test"][0].active


async def test_senders_mids_and_rules_choose(machine: Machine) -> None:
    await machine.start()
    ann = await machine.accept("a@dead.test", sender="Ann@here.test")
    secret = b"Subject: x\r\n\r\nsecret"
    bob = await machine.accept("a@dead.test", "c@dead.test", sender="bob@here.test", content=secret)
    eve = await machine.accept("a@dead.test", sender="eve@else.test")
    await machine.until(lambda: machine.log.having("pending till"))
    assert numbers(await operate(machine, "delete", sender="ann@", dry_run=True)) == ("done", 1, 1, 0)
    assert numbers(await operate(machine, "delete", sender="@HERE.test", dry_run=True)) == ("done", 2, 3, 0)
    assert numbers(await operate(machine, "delete", mids=[str(eve), "99999999"], dry_run=True)) == ("done", 1, 1, 0)
    assert numbers(await operate(machine, "delete", filter="rcpt-to == '^c@'")) == ("done", 1, 1, 0)
    assert numbers(await operate(machine, "delete", filter="body-contains('secret')")) == ("done", 1, 1, 0)
    assert {mid for mid, _ in await waiting(machine)} == {str(ann), str(eve)}
    assert bob not in machine.courier.mids()
    with pytest.raises(GatepostError, match="filter: line 1, column 1: there is no rule 'colour'"):
        await operate(machine, "delete", filter="colour == 'red'")


async def test_what_is_on_a_connection_is_busy_and_left(machine: Machine) -> None:
    go = asyncio.Event()

    async def slow(job: Job, _dcid: int) -> Sequence[Carried]:
        await go.wait()
        return [Carried(one.rid, "delivered", 250, "2.0.0", "ok") for one in job.recipients]

    machine.courier.refuse = None
    machine.courier.behave = slow
    await machine.start()
    mid = await machine.accept("a@slow.test")
    await machine.until(lambda: machine.courier.began)
    assert numbers(await operate(machine, "delete", host="slow.test")) == ("done", 0, 0, 1)
    go.set()
    await machine.until(lambda: machine.courier.mids() == [mid])


async def test_an_operation_that_still_runs_is_not_forgotten_for_later_ones(machine: Machine) -> None:
    """After 20 later orders a long one could be neither followed nor stopped."""
    queue = await machine.start()
    verbs = queue.verbs()
    async with verbs["operate"].__self__._one:  # one changes the queue at a time: this one waits
        first = await verbs["operate"]({"action": "delete", "host": "a.test"})
        for _ in range(KEPT + 5):
            last = await operate(machine, "delete", host="b.test", dry_run=True)
        assert (await verbs["operation_stop"]({"id": first["id"]}))["state"] == "waiting"
        with pytest.raises(GatepostError, match="there is no operation '2'"):
            await verbs["operation"]({"id": "2"})
        assert (await verbs["operation"]({"id": last["id"]}))["state"] == "done"


async def test_bounced_recipients_are_reported_to_their_sender(machine: Machine) -> None:
    await machine.start()
    for n in range(3):
        await machine.accept(f"a{n}@dead.test", sender="ann@home.test")
    await settled(machine, 3)
    assert numbers(await operate(machine, "bounce", sender="ann@home.test")) == ("done", 3, 3, 0)
    assert machine.counters.counts["other_hard_bounced_recips"] == 3
    await machine.until(lambda: machine.counters.counts.get("gen_bounce_recips") == 3)
    machine.courier.refuse = None
    assert machine.queue is not None
    await machine.queue.verbs()["deliver_now"]({"all": True})
    await machine.until(lambda: len(machine.courier.carried) == 3)
    assert b"administrator" in machine.courier.carried[0][2]


async def test_redirected_mail_goes_to_the_named_host_also_after_a_crash(machine: Machine) -> None:
    await machine.start()
    mids = [await machine.accept(f"a{n}@dead.test", f"b{n}@else.test") for n in range(3)]
    await settled(machine, 6)
    late = await machine.accept("late@dead.test")
    await machine.accept("held@x.test", verdict="hold", destination="the.hold.queue")
    await machine.until(lambda: machine.queue and machine.queue._scheduler.by_name.get("the.hold.queue"))
    done = await operate(machine, "redirect", to="Mx.Other.test:2525")
    assert numbers(done) == ("done", 4, 7, 0)
    assert done["to"] == "[mx.other.test]:2525"
    await machine.crash()
    queue = await machine.start()
    names = {one["host"]: one["active_recipients"] for one in queue.views.tophosts()["hosts"]}
    assert names["[mx.other.test]:2525"] == 7
    assert names.get("dead.test", 0) == 0
    machine.courier.refuse = None
    await queue.verbs()["deliver_now"]({"host": "[mx.other.test]:2525"})
    await machine.until(lambda: not queue._scheduler.by_name["[mx.other.test]:2525"][0].active)
    assert set(machine.courier.mids()) == {*mids, late}
    assert queue.views.hoststatus("the.hold.queue")["gauges"]["active_recips"] == 1


async def test_held_mail_goes_on_as_its_outcome_says(machine: Machine) -> None:
    machine.courier.refuse = None
    queue = await machine.start()
    plain = await machine.accept("a@there.test", verdict="hold", destination="the.hold.queue")
    flagged = await machine.accept(
        "a@there.test", verdict="hold", destination="the.hold.queue", transfer_id=b"0123456789abcdef"
    )
    await machine.until(lambda: queue._scheduler.by_name.get("the.hold.queue"))
    await machine.until(lambda: queue._scheduler.by_name["the.hold.queue"][0].active == 2)
    assert numbers(await operate(machine, "release")) == ("done", 2, 2, 0)
    await machine.until(lambda: machine.courier.mids() == [plain] and machine.cpq.mids() == [flagged])


async def test_mail_for_the_quarantine_can_be_deleted_and_its_receiver_is_told_to_forget_it(machine: Machine) -> None:
    told: list[tuple[bytes, str, int]] = []

    async def abandon(transfer_id: bytes, serial: str, mid: int) -> None:
        told.append((transfer_id, serial, mid))

    machine.cpq.refuse = DOWN
    queue = await machine.start()
    queue.operations.abandon = abandon
    fields = {"verdict": "quarantine", "destination": "the.cpq.host", "target": "S1", "transfer_id": b"x" * 16}
    mid = await machine.accept("a@there.test", **fields)
    await machine.until(lambda: machine.log.having("pending till"))
    assert numbers(await operate(machine, "delete", host="the.cpq.host")) == ("done", 1, 1, 0)
    assert told == [(b"x" * 16, "S1", mid)]


async def test_quarantine_mail_that_is_bounced_goes_back_to_its_sender(machine: Machine) -> None:
    machine.cpq.refuse = DOWN
    await machine.start()
    await machine.accept("a@there.test", "b@else.test", verdict="quarantine", destination="the.cpq.host")
    await machine.until(lambda: machine.log.having("pending till"))
    assert numbers(await operate(machine, "bounce", host="the.cpq.host")) == ("done", 1, 2, 0)
    assert machine.counters.counts["gen_bounce_recips"] >= 1


async def test_a_stopped_operation_says_how_far_it_came(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mail.queue.operate.STEP", 2)
    queue = await machine.start()
    for n in range(20):
        await machine.accept(f"a{n}@dead.test")
    await settled(machine, 20)
    verbs = queue.verbs()
    begun = await verbs["operate"]({"action": "delete", "host": "dead.test"})
    while not (await verbs["operation"]({"id": begun["id"]}))["looked_at"]:
        await asyncio.sleep(0)
    await verbs["operation_stop"]({"id": begun["id"]})
    document = await verbs["operation"]({"id": begun["id"], "wait_s": 5})
    assert document["state"] == "stopped"
    assert 0 < document["recipients"] < 20
    assert len(await waiting(machine)) == 20 - document["recipients"]


def test_a_place_to_redirect_to_is_read_in_every_form() -> None:
    assert route_name("MX.test.") == "[mx.test]:25"
    assert route_name("mx.test:2525") == "[mx.test]:2525"
    assert route_name("192.0.2.1:26") == "[192.0.2.1]:26"
    assert route_name("2001:db8::1") == "[2001:db8::1]:25"
    assert route_name("[2001:db8::1]:2525") == "[2001:db8::1]:2525"
    for wrong in ("", "a b", "mx.test:", "mx.test:0", "mx.test:99999", "[::1]:x", "a@b"):
        with pytest.raises(GatepostError):
            route_name(wrong)


async def test_bouncing_everything_leaves_the_bounces_that_it_makes(machine: Machine) -> None:
    """They came behind in the same walk through the queue, and were bounced, which drops them."""
    await machine.start()
    for number in range(3):
        await machine.accept(f"a{number}@one.test")
    await settled(machine, 3)
    machine.mids.next()
    done = await operate(machine, "bounce")
    assert numbers(done) == ("done", 3, 3, 0)
    await settled(machine, 3)
    assert {recipient for _, recipient in await waiting(machine)} == {"a@here.test"}
    assert not machine.log.having("Double bounce")


async def test_a_message_with_very_many_recipients_is_one_message_though_it_takes_several_turns(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mail.queue.operate.SLICE_S", 0.0)
    await machine.start()
    await machine.accept(*[f"a{number}@d{number % 7}.test" for number in range(70)])
    await settled(machine, 70)
    assert numbers(await operate(machine, "delete")) == ("done", 1, 70, 0)
    assert await waiting(machine) == set()
