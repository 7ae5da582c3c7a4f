"""The delivery queue as a whole, on a real journal and index, with a courier that only writes down."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from mail.bounce.profile import BounceProfile
from mail.delivery.courier import Carried, Job
from mail.queue.select import Selector
from protocol.errors import PermanentFailure, TemporaryFailure
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


async def test_an_accepted_message_is_delivered_as_it_came_and_leaves_nothing(machine: Machine) -> None:
    await machine.start()
    mid = await machine.accept("b@there.test", "c@there.test", content=b"Subject: hi\r\n\r\n\x80\r\n")
    await machine.until(lambda: machine.log.having("Message finished"))
    assert machine.courier.carried == [(mid, [0, 1], b"Subject: hi\r\n\r\n\x80\r\n")]
    assert machine.log.lines == [
        f"Delivery start DCID 1 MID {mid} to RID [0, 1]",
        f"Message done DCID 1 MID {mid} to RID [0, 1]",
        f"MID {mid} RID [0, 1] Response 'ok'",
        f"Message finished MID {mid} done",
    ]
    assert {name: n for name, n in machine.counters.counts.items() if n} == {
        "delivered_recips": 2,
        "completed_recips": 2,
    }
    await machine.stop()


async def test_recipients_of_several_domains_go_in_one_transaction_each(machine: Machine) -> None:
    await machine.start()
    mid = await machine.accept("b@there.test", "c@else.test", "d@THERE.test")
    await machine.until(lambda: machine.log.having("Message finished"))
    assert sorted((one, rids) for one, rids, _ in machine.courier.carried) == [(mid, [0, 2]), (mid, [1])]


async def test_messages_follow_each_other_on_a_kept_connection(machine: Machine) -> None:
    await machine.start()
    mids = [await machine.accept("b@there.test") for _ in range(30)]
    await machine.until(lambda: len(machine.courier.carried) == 30)
    assert sorted(machine.courier.mids()) == mids
    assert machine.courier.opened <= 5


async def test_a_soft_failure_waits_in_the_index_and_is_tried_again(machine: Machine) -> None:
    async def busy(job: Job, dcid: int) -> Sequence[Carried]:
        return [Carried(one.rid, "soft", 451, "4.3.2", "later") for one in job.recipients]

    machine.courier.behave = busy
    queue = await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: not queue._book.messages and rows(machine))
    assert machine.log.having("Delayed: ") == [
        f"Delayed: DCID 1 MID {mid} to RID 0 - 4.3.2 - Mail system not accepting messages ('451', ['later']) []"
    ]
    assert machine.log.having("pending till")[0].endswith("[Default]")
    assert machine.counters.counts["soft_bounced_evts"] == 1
    shown = (await queue.views.showrecipients(Selector("there.test")))["recipients"]
    assert [(one["mid"], one["attempts"], one["last_reply"]) for one in shown] == [(str(mid), 1, "451 4.3.2 later")]
    machine.courier.behave = None
    machine.time += 61
    await machine.until(lambda: machine.courier.mids() == [mid])
    await machine.until(lambda: not rows(machine))
    assert machine.courier.began == [mid, mid]


async def test_a_crash_before_the_checkpoint_loses_nothing_and_repeats_nothing(machine: Machine) -> None:
    await machine.start()
    mids = [await machine.accept("b@there.test") for _ in range(20)]
    await machine.until(lambda: len(machine.log.having("Message finished")) == 20)
    await machine.crash()
    late = await machine.accept("b@there.test")
    await machine.start()
    await machine.until(lambda: late in machine.courier.mids())
    assert sorted(machine.courier.mids()) == [*mids, late]


async def test_deferred_mail_survives_an_orderly_stop(machine: Machine) -> None:
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "refused"))
    await machine.start()
    mids = [await machine.accept("b@there.test") for _ in range(50)]
    await machine.until(lambda: machine.log.having("Delayed"))
    await machine.stop()
    machine.courier.refuse = None
    machine.time += 200
    await machine.start()
    await machine.until(lambda: sorted(machine.courier.mids()) == mids)


async def test_a_hard_failure_is_reported_before_it_is_done(machine: Machine) -> None:
    async def unknown(job: Job, dcid: int) -> Sequence[Carried]:
        if job.sender:
            return [
                Carried(0, "hard", 550, "5.1.1", "no such user"),
                Carried(1, "delivered", 250, "2.0.0", "ok"),
                Carried(2, "soft", 450, "4.2.1", "busy"),
            ]
        return [Carried(0, "delivered", 250, "2.0.0", "ok")]

    machine.courier.behave = unknown
    queue = await machine.start()
    mid = await machine.accept("b@there.test", "c@there.test", "d@there.test")
    await machine.until(lambda: len(machine.courier.carried) == 2)
    assert machine.log.having("Bounced: ") == [
        f"Bounced: DCID 1 MID {mid} to RID 0 - 5.1.1 - Bad destination email address ('550', ['no such user']) []"
    ]
    bounce = next(content for one, _, content in machine.courier.carried if one != mid)
    assert b"no such user" in bounce
    assert machine.counters.counts["5xx_hard_bounced_recips"] == 1
    assert machine.counters.counts["gen_bounce_recips"] == 1
    await machine.until(lambda: rows(machine) == [(mid, 2)])
    last = queue.views.hoststatus("there.test")["last_5xx"]
    assert last["text"] == "550 5.1.1 no such user"


async def test_a_bounce_that_fails_is_dropped_with_a_line(machine: Machine) -> None:
    async def unknown(job: Job, dcid: int) -> Sequence[Carried]:
        return [Carried(one.rid, "hard", 550, "5.1.1", "no") for one in job.recipients]

    machine.courier.behave = unknown
    await machine.start()
    await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having("Double bounce"))
    await machine.until(lambda: len(machine.log.having("Message finished")) == 2)
    assert machine.counters.counts["hard_bounced_recips"] == 2


async def test_a_domain_that_does_not_exist_is_a_dns_hard_bounce(machine: Machine) -> None:
    reply = Reply(550, "5.1.2", "Bad destination host")
    machine.courier.refuse = PermanentFailure(reply, "DNS Hard Error looking up nowhere.test (MX):  NXDomain")
    await machine.start()
    mid = await machine.accept("b@nowhere.test", sender="")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid}"))
    assert machine.counters.counts["dns_hard_bounced_recips"] == 1
    mid = await machine.accept("b@nowhere.test")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid}"))
    assert machine.log.having(f"MID {mid} to RID")[0] == (
        f"Bounced: DCID 0 MID {mid} to RID 0 - 5.1.2 - Bad destination host"
        " ('000', ['DNS Hard Error looking up nowhere.test (MX):  NXDomain']) []"
    )


async def test_held_mail_is_never_attempted_and_says_why(machine: Machine) -> None:
    queue = await machine.start()
    mid = await machine.accept("b@there.test", verdict="hold", reason="unknown stage")
    await machine.until(lambda: rows(machine) == [(mid, 0)])
    machine.time += 10_000_000
    later = await machine.accept("c@else.test")
    await machine.until(lambda: machine.log.having(f"Message finished MID {later}"))
    assert machine.courier.mids() == [later]
    assert "never attempted" in queue.views.hoststatus("the.hold.queue")["limiting_rule"]
    assert (await queue.views.showrecipients(Selector("the.hold.queue")))["recipients"][0]["next_attempt_at"] is None


async def test_dropped_and_filter_bounced_mail_is_finished_at_import(machine: Machine) -> None:
    await machine.start()
    await machine.accept("b@there.test", verdict="drop")
    bounced = await machine.accept("b@there.test", verdict="bounce", reason="bounced by filter 'x'")
    await machine.until(lambda: machine.log.having(f"Message finished MID {bounced}"))
    await machine.until(lambda: len(machine.courier.carried) == 1)
    assert b"bounced by filter 'x'" in machine.courier.carried[0][2]
    assert machine.counters.counts["filter_hard_bounced_recips"] == 1


async def test_the_quarantine_courier_gets_the_whole_message_and_the_log_says_so(machine: Machine) -> None:
    await machine.start()
    mid = await machine.accept("b@there.test", "c@else.test", verdict="quarantine", destination="the.cpq.host")
    await machine.until(lambda: machine.cpq.mids() == [mid])
    assert machine.cpq.carried[0][1] == [0, 1]
    assert machine.log.having("Delivery start")[0].endswith("to RID [0, 1] to Centralized Policy Quarantine")
    assert machine.log.having("Message done")[0].endswith("(centralized policy quarantine)")


async def test_a_host_that_is_down_is_asked_for_one_message_only(machine: Machine) -> None:
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "x"), "connection refused")
    queue = await machine.start()
    for _ in range(40):
        await machine.accept("b@there.test")
    await machine.until(lambda: queue.views.hoststatus("there.test")["state"] == "down")
    status = queue.views.hoststatus("there.test")
    assert status["gauges"]["attempted_recips"] <= 5
    assert status["limiting_rule"].startswith("host down until ")
    assert "connection refused" in status["limiting_rule"]
    machine.courier.refuse = None
    machine.time += 61
    await machine.until(lambda: len(machine.courier.carried) == 40)
    assert queue.views.hoststatus("there.test")["state"] == "up"


async def test_mail_in_the_index_goes_at_once_when_its_host_answers_again(machine: Machine) -> None:
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "x"), "connection refused")
    queue = await machine.start()
    first = await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having("pending till") and not queue._book.messages)
    machine.courier.refuse = None
    queue._scheduler.destination(("there.test", "")).down_until = 0.0
    second = await machine.accept("b@there.test")
    await machine.until(lambda: sorted(machine.courier.mids()) == [first, second])


async def test_suspended_delivery_stays_suspended_over_a_restart(machine: Machine) -> None:
    queue = await machine.start()
    await queue.verbs()["suspend"]({})
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: rows(machine))
    assert queue.views.hoststatus("there.test")["limiting_rule"].startswith("delivery is suspended")
    await machine.stop()
    queue = await machine.start()
    await asyncio.sleep(0.1)
    assert machine.courier.opened == 0
    assert (await queue.verbs()["status"]({}))["state"] == "Delivery suspended"
    assert [(one.check, one.grave) for one in queue.condition().concerns] == [("delivery", False)]
    await queue.verbs()["resume"]({})
    await machine.until(lambda: machine.courier.mids() == [mid])
    assert queue.condition().concerns == ()


async def test_more_mail_than_memory_takes_is_delivered_from_the_index(tmp_path: Path) -> None:
    machine = Machine(tmp_path, ready_limit=10, resident=60)
    mids = [await machine.accept("b@there.test") for _ in range(400)]
    gate = asyncio.Event()

    async def slow(job: Job, dcid: int) -> Sequence[Carried]:
        await gate.wait()
        return [Carried(one.rid, "delivered", 250, "", "ok") for one in job.recipients]

    machine.courier.behave = slow
    queue = await machine.start()
    await machine.until(lambda: queue.views.gauges()["active_recips"] == 400)
    await machine.until(lambda: len(queue._book.messages) <= 60)
    gate.set()
    await machine.until(lambda: len(machine.courier.carried) == 400, 20)
    assert sorted(machine.courier.mids()) == mids
    await machine.until(lambda: not rows(machine))
    assert queue.views.gauges()["active_recips"] == 0
    await machine.close()


async def test_old_mail_is_bounced_instead_of_tried_once_more(tmp_path: Path) -> None:
    machine = Machine(tmp_path, BounceProfile(jitter=0.0, max_in_queue_s=100))
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "x"), "refused")
    await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having("Delayed"))
    machine.courier.refuse = None
    machine.time += 121
    await machine.until(lambda: machine.log.having(f"Bounced: DCID 0 MID {mid}"))
    await machine.until(lambda: machine.counters.counts.get("expired_hard_bounced_recips") == 1)
    assert mid not in machine.courier.mids()
    await machine.close()


async def test_idle_pseudo_hosts_are_shown(tmp_path: Path) -> None:
    machine = Machine(tmp_path, always=("the.cpq.host",))
    queue = await machine.start()
    assert queue.views.tophosts()["hosts"] == [
        {
            "host": "the.cpq.host",
            "state": "unknown",
            "active_recipients": 0,
            "connections_out": 0,
            "delivered_recipients": 0,
            "soft_bounced": 0,
            "hard_bounced": 0,
        }
    ]
    await machine.close()


async def test_a_clock_set_back_by_a_day_before_a_start_does_not_keep_mail_waiting_for_a_day(machine: Machine) -> None:
    """Next attempts were stored by the old clock: nothing moved until the day had passed."""
    machine.courier.refuse = OSError("refused")
    await machine.start()
    await machine.accept("b@there.test")
    held = await machine.accept("c@there.test", destination="the.hold.queue")
    await machine.until(lambda: len(rows(machine)) == 2)
    await machine.stop()
    machine.courier.refuse = None
    machine.time -= 86_400
    await machine.start()
    await machine.until(lambda: machine.courier.carried)
    assert held not in machine.courier.mids()
    assert machine.log.having("The clock was set back since the last start: 1 waiting recipients are due now")


async def test_a_filters_bounce_that_could_not_be_recorded_is_made_after_a_crash_and_its_mail_never_delivered(
    machine: Machine,
) -> None:
    """Its recipients came back from the index as ordinary mail."""
    queue = await machine.start()
    queue._reporter.failed = lambda parcel, fates, profile, told: told(False)  # type: ignore[method-assign]
    bounced = await machine.accept("b@there.test", verdict="bounce", reason="not wanted")
    await machine.until(lambda: machine.log.having(f"MID {bounced} to RID [0] pending till"))
    await machine.until(lambda: not queue._book.changed)
    await machine.crash()
    machine.time += 120
    await machine.start()
    await machine.until(lambda: machine.log.having(f"Message finished MID {bounced}"))
    await machine.until(lambda: machine.courier.carried)
    await asyncio.sleep(0.05)
    assert bounced not in machine.courier.mids()
    assert b"not wanted" in machine.courier.carried[0][2]
