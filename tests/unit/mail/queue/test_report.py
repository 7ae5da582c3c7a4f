"""`mail.queue.report`, `.warn`, `.overdue` and `.profile`: what senders are told, through the whole queue."""

import asyncio
import email
import email.policy
import os
import time
from collections.abc import AsyncIterator, Sequence
from email.message import EmailMessage
from pathlib import Path

import pytest

from mail.bounce.profile import BounceProfile
from mail.bounce.text import read_text
from mail.delivery.courier import Carried, Job
from mail.queue.report import ReportSettings
from protocol.errors import PermanentFailure, TemporaryFailure
from protocol.reply import Reply
from tests.support.processor import queued_s
from tests.support.queue_machine import Machine

LATER = TemporaryFailure(Reply(451, "4.4.1", "x"), "refused")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path)
    yield one
    await one.close()


def with_profile(machine: Machine, **profile: object) -> None:
    machine.profile = BounceProfile(jitter=0.0, **profile)  # type: ignore[arg-type]


async def refuse_all(job: Job, dcid: int) -> Sequence[Carried]:
    if not job.sender:
        return [Carried(one.rid, "delivered", 250, "2.0.0", "ok") for one in job.recipients]
    return [Carried(one.rid, "hard", 550, "5.1.1", "no such user") for one in job.recipients]


async def defer_all(job: Job, dcid: int) -> Sequence[Carried]:
    if not job.sender:
        return [Carried(one.rid, "delivered", 250, "2.0.0", "ok") for one in job.recipients]
    return [Carried(one.rid, "soft", 451, "4.3.2", "later") for one in job.recipients]


def reports(machine: Machine, *about: int) -> list[EmailMessage]:
    """Give what was delivered besides the messages themselves."""
    found = [
        email.message_from_bytes(content, policy=email.policy.default)
        for mid, _, content in machine.courier.carried
        if mid not in about
    ]
    return [one for one in found if isinstance(one, EmailMessage)]


def recipients_of(report: EmailMessage) -> list[tuple[str, str]]:
    groups = list(report.iter_parts())[1].get_payload()
    assert isinstance(groups, list)
    return [(one["Final-Recipient"].partition("; ")[2], one["Action"]) for one in groups[1:]]


# Worked examples of behaviour 2.18


async def ticks(machine: Machine, count: int) -> None:
    """Wait until the queue has looked at the time so often."""
    assert machine.queue is not None
    scheduler, seen = machine.queue._scheduler, 0
    tick = scheduler.tick

    def counted(now: float, most: float) -> bool:
        nonlocal seen
        seen += 1
        return tick(now, most)

    scheduler.tick = counted  # type: ignore[assignment, method-assign]
    await machine.until(lambda: seen >= count)
    del scheduler.tick


async def attempts_until_the_bounce(machine: Machine, mid: int, until_s: int) -> list[int]:
    """Go on second by second (of the fake clock, 20 at a time); give the seconds at which there was an attempt."""
    attempts: list[int] = []
    for second in range(0, until_s, 20):
        before = machine.courier.began.count(mid)
        await machine.until(
            lambda: machine.log.having(f"MID {mid} to RID [0] pending") or machine.log.having("Bounced")
        )
        if machine.log.having(f"Bounced: DCID 0 MID {mid}") or machine.log.having(f"MID {mid} was generated"):
            break
        machine.time += 20
        await ticks(machine, 3)
        if machine.courier.began.count(mid) > before:
            attempts.append(second + 20)
    return attempts


async def test_two_retries_are_made_and_the_bounce_follows_the_second_at_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path, BounceProfile(jitter=0.0, max_retries=2, initial_retry_s=60, max_retry_s=60))
    machine.courier.behave = defer_all
    await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.began == [mid])
    assert await attempts_until_the_bounce(machine, mid, 140) == [60, 120]
    bounced = machine.log.having(f"Bounced: DCID 3 MID {mid}") or machine.log.having(f"MID {mid} to RID 0 - ")
    assert "4.3.2" not in bounced[-1]
    await machine.until(lambda: machine.log.having(f"for bounce of MID {mid}"))
    assert machine.counters.counts["expired_hard_bounced_recips"] == 1
    await machine.close()


async def test_a_message_that_is_too_old_gets_the_bounce_instead_of_its_next_attempt(tmp_path: Path) -> None:
    profile = BounceProfile(jitter=0.0, max_in_queue_s=100, initial_retry_s=60, max_retry_s=60)
    machine = Machine(tmp_path, profile)
    machine.courier.behave = defer_all
    await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.began == [mid])
    assert await attempts_until_the_bounce(machine, mid, 200) == [60]
    assert machine.courier.began.count(mid) == 2
    await machine.until(lambda: machine.log.having(f"Bounced: DCID 0 MID {mid}"))
    assert "5.4.7" in machine.log.having(f"Bounced: DCID 0 MID {mid}")[0]
    await machine.close()


# Who is told of what


async def test_recipients_of_several_domains_that_fail_together_are_told_of_in_one_report(machine: Machine) -> None:
    machine.courier.behave = refuse_all
    await machine.start()
    mid = await machine.accept("b@there.test", "c@else.test", "d@other.test")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid}"))
    await machine.until(lambda: machine.courier.carried)
    (report,) = reports(machine, mid)
    assert sorted(recipients_of(report)) == [
        ("b@there.test", "failed"),
        ("c@else.test", "failed"),
        ("d@other.test", "failed"),
    ]
    assert machine.counters.counts["gen_bounce_recips"] == 1


@pytest.mark.parametrize(("notify", "told"), [("", 1), ("NEVER", 0), ("FAILURE", 1), ("SUCCESS,DELAY", 0)])
async def test_a_failure_is_reported_if_notify_does_not_speak_against_it(
    machine: Machine, notify: str, told: int
) -> None:
    machine.courier.behave = refuse_all
    await machine.start()
    mid = await machine.accept("b@there.test", notify=notify)
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid}"))
    assert machine.counters.counts.get("gen_bounce_recips", 0) == told
    assert machine.counters.counts["5xx_hard_bounced_recips"] == 1
    assert len(machine.log.having("not reported: its sender asked for that")) == 1 - told


@pytest.mark.parametrize("hard_bounce", ["off", "plain"])
async def test_a_profile_decides_on_the_form_of_bounces(machine: Machine, hard_bounce: str) -> None:
    with_profile(machine, hard_bounce=hard_bounce)
    machine.courier.behave = refuse_all
    await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid}"))
    if hard_bounce == "off":
        assert not machine.log.having("was generated")
        return
    await machine.until(lambda: machine.courier.carried)
    assert [one.get_content_type() for one in reports(machine)] == ["text/plain"]


async def test_a_profile_may_send_bounces_elsewhere_with_words_of_its_own(tmp_path: Path) -> None:
    texts = {"ours": read_text("Gone: $Recipients", "Oops")}
    profile = BounceProfile(jitter=0.0, bounce_to="post@desk.test", bounce_text="Ours")
    machine = Machine(tmp_path, profile, reports=ReportSettings(texts))
    machine.courier.behave = refuse_all
    await machine.start()
    await machine.accept("b@there.test")
    await machine.until(lambda: machine.courier.carried)
    (report,) = reports(machine)
    assert (report["To"], report["Subject"]) == ("post@desk.test", "Oops")
    assert next(iter(report.iter_parts())).get_content().strip() == "Gone: b@there.test"
    assert machine.log.having("RID 0 To: <post@desk.test>")
    await machine.close()


async def test_success_is_reported_only_if_asked_for_and_the_next_host_will_not(machine: Machine) -> None:
    async def half(job: Job, dcid: int) -> Sequence[Carried]:
        return [Carried(one.rid, "delivered", 250, "2.0.0", "ok", one.rid == 1) for one in job.recipients]

    machine.courier.behave = half
    await machine.start()
    plain = await machine.accept("x@there.test")
    asked = await machine.accept("b@there.test", "c@there.test", notify="SUCCESS,FAILURE")
    await machine.until(lambda: reports(machine, plain, asked))
    (report,) = reports(machine, plain, asked)
    assert recipients_of(report) == [("b@there.test", "relayed")]
    assert machine.log.having(f"was generated for success report of MID {asked}")


async def test_a_transfer_into_quarantine_is_no_success(machine: Machine) -> None:
    await machine.start()
    mid = await machine.accept("b@there.test", notify="SUCCESS", verdict="quarantine", destination="the.cpq.host")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid}"))
    await asyncio.sleep(0.1)
    assert not machine.log.having("was generated")


async def test_what_a_list_sent_is_bounced_but_not_warned_of(machine: Machine) -> None:
    with_profile(machine, delay_warnings="on", delay_interval_s=100)
    machine.courier.behave = defer_all
    await machine.start()
    await machine.accept("b@there.test", content=b"List-Id: <x.test>\r\n\r\n")
    person = await machine.accept("b@there.test")
    await machine.until(lambda: len(machine.log.having("Delayed: ")) == 2)
    machine.time += 130
    await machine.until(lambda: machine.log.having("a list or a program sent the message"))
    await machine.until(lambda: machine.log.having("was generated"))
    assert machine.log.having("was generated") == machine.log.having(f"delay warning of MID {person}")


async def test_reports_are_capped_by_sender_domain_logged_and_counted(tmp_path: Path) -> None:
    machine = Machine(tmp_path, reports=ReportSettings({}, per_hour=0, per_domain_per_hour=3))
    machine.courier.behave = refuse_all
    await machine.start()
    mids = [await machine.accept("b@there.test", sender=f"u{number}@forged.test") for number in range(5)]
    other = await machine.accept("b@there.test", sender="u@real.test")
    await machine.until(lambda: all(machine.log.having(f"Message finished MID {mid}") for mid in [*mids, other]))
    assert machine.counters.counts["gen_bounce_recips"] == 4
    assert machine.counters.counts["capped_reports"] == 2
    assert len(machine.log.having("more than 3 reports an hour to its domain")) == 2
    await machine.close()


# Profiles


async def test_a_filters_profile_comes_before_the_destinations_and_the_listeners(tmp_path: Path) -> None:
    named = {
        name: BounceProfile(name=name, jitter=0.0, initial_retry_s=wait)
        for name, wait in (("filters", 1000), ("listeners", 2000))
    }
    machine = Machine(tmp_path, BounceProfile(jitter=0.0, implied=True), profiles=named)
    machine.courier.behave = defer_all
    await machine.start()
    facts = {"bounce_profile": "Listeners"}
    await machine.accept("b@there.test")
    await machine.accept("b@there.test", facts=facts)
    await machine.accept("b@there.test", facts=facts, bounce_profile="filters")
    await machine.accept("b@there.test", facts={"bounce_profile": "gone"})
    await machine.until(lambda: len(machine.log.having("pending till")) == 4)
    assert sorted(line.rpartition("[")[2] for line in machine.log.having("pending till")) == [
        "Default]",
        "Default]",
        "filters]",
        "listeners]",
    ]
    await machine.close()


async def test_a_profile_that_the_destination_names_comes_before_the_listeners(tmp_path: Path) -> None:
    named = {"listeners": BounceProfile(name="listeners")}
    machine = Machine(tmp_path, BounceProfile(name="own", jitter=0.0), profiles=named)
    machine.courier.behave = defer_all
    await machine.start()
    await machine.accept("b@there.test", facts={"bounce_profile": "listeners"})
    await machine.until(lambda: machine.log.having("pending till"))
    assert machine.log.having("pending till")[0].endswith("[own]")
    await machine.close()


# Delay warnings


@pytest.mark.parametrize(
    ("mode", "notify", "warned"),
    [
        ("on", "", 1),
        ("on", "FAILURE", 0),
        ("asked", "", 0),
        ("asked", "DELAY", 1),
        ("off", "DELAY", 0),
        ("on", "NEVER", 0),
    ],
)
async def test_a_warning_goes_to_those_who_want_it(machine: Machine, mode: str, notify: str, warned: int) -> None:
    with_profile(machine, delay_warnings=mode, delay_interval_s=100)
    machine.courier.behave = defer_all
    await machine.start()
    mid = await machine.accept("b@there.test", notify=notify)
    await machine.until(lambda: machine.log.having("pending till"))
    machine.time += 150
    await machine.until(lambda: len(machine.log.having("pending till")) == 2)
    await machine.until(lambda: len(machine.log.having(f"MID {mid} to RID [0] delay warning 1 of 1")) >= warned)
    await machine.until(lambda: len(machine.log.having(f"for delay warning of MID {mid}")) >= warned)
    await asyncio.sleep(0.15)
    assert len(machine.log.having(f"for delay warning of MID {mid}")) == warned
    assert len(machine.log.having(f"MID {mid} to RID [0] delay warning 1 of 1")) == warned


async def test_a_warning_is_not_repeated_after_a_restart_nor_beyond_its_count(machine: Machine) -> None:
    with_profile(machine, delay_warnings="on", delay_interval_s=100, delay_count=2, max_retry_s=60)
    machine.courier.behave = defer_all
    queue = await machine.start()
    await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having("pending till") and not queue._book.messages)
    machine.time += 130
    await machine.until(lambda: machine.log.having("delay warning 1 of 2") and not queue._book.messages)
    await machine.stop()
    queue = await machine.start()
    machine.time += 61
    await machine.until(lambda: len(machine.log.having("pending till")) == 3)
    assert len(machine.log.having("delay warning")) == 2  # the line and the report's own
    machine.time += 61
    await machine.until(lambda: machine.log.having("delay warning 2 of 2") and not queue._book.messages)
    machine.time += 500
    await machine.until(lambda: len(machine.log.having("pending till")) == 5)
    assert len(machine.log.having("was generated for delay warning")) == 2


async def test_the_null_sender_is_never_warned(machine: Machine) -> None:
    with_profile(machine, delay_warnings="on", delay_interval_s=100)
    machine.courier.refuse = LATER
    await machine.start()
    await machine.accept("b@there.test", sender="")
    await machine.until(lambda: machine.log.having("pending till"))
    machine.time += 150
    await machine.until(lambda: len(machine.log.having("pending till")) == 2)
    assert not machine.log.having("delay warning")


async def test_a_message_that_fails_for_good_is_not_warned_of_at_that_moment(machine: Machine) -> None:
    with_profile(machine, delay_warnings="on", delay_interval_s=100, max_retries=1)
    machine.courier.behave = defer_all
    await machine.start()
    mid = await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having("pending till"))
    machine.time += 150
    await machine.until(lambda: machine.log.having(f"for bounce of MID {mid}"))
    assert not machine.log.having("delay warning")


async def test_mail_behind_a_dead_host_is_warned_of_and_expires_without_an_attempt(machine: Machine) -> None:
    with_profile(
        machine, delay_warnings="on", delay_interval_s=100, max_in_queue_s=300, initial_retry_s=3600, max_retry_s=3600
    )
    machine.courier.refuse = LATER
    queue = await machine.start()
    mids = [await machine.accept("b@there.test") for _ in range(30)]
    await machine.until(lambda: queue.views.hoststatus("there.test")["state"] == "down")
    await machine.until(lambda: not queue._book.messages or len(queue._book.messages) < 30)
    tried = len(machine.log.having("pending till"))
    assert tried < 10
    machine.time += 150
    await machine.until(lambda: len(machine.log.having("was generated for delay warning")) == 30, 20)
    machine.time += 200
    untried = 30 - tried
    await machine.until(lambda: machine.counters.counts.get("expired_hard_bounced_recips", 0) >= untried, 20)
    assert len(machine.log.having("was generated for delay warning")) == 30
    bounced = {line.partition("MID ")[2].split()[0] for line in machine.log.having("Bounced: DCID 0")}
    assert bounced <= {str(mid) for mid in mids}


async def test_mail_that_is_too_old_stays_while_delivery_is_suspended(machine: Machine) -> None:
    with_profile(machine, max_in_queue_s=100)
    queue = await machine.start()
    await queue.verbs()["suspend"]({})
    mid = await machine.accept("b@there.test")
    machine.time += 500
    await asyncio.sleep(2.2)
    assert not machine.log.having("Bounced")
    await queue.verbs()["resume"]({})
    await machine.until(lambda: machine.log.having(f"Bounced: DCID 0 MID {mid}"))


# Many at once


async def test_two_thousand_failures_do_not_hold_up_the_loop(machine: Machine) -> None:
    refused = PermanentFailure(Reply(550, "5.1.2", "Bad destination host"), "NXDomain")
    queue = await machine.start()
    await queue.verbs()["suspend"]({})
    mids = [await machine.accept("b@there.test", verdict="bounce") for _ in range(2000)]
    assert refused

    def now() -> float:
        return time.monotonic() - queued_s(os.getpid())

    longest, last = 0.0, now()
    while len(machine.log.having("was generated for bounce")) < len(mids):
        await asyncio.sleep(0)
        before, last = last, now()
        longest = max(longest, last - before)
    assert longest < 0.25


async def test_the_bounce_log_has_a_line_for_each_bounce_and_delay(machine: Machine) -> None:
    async def both(job: Job, dcid: int) -> Sequence[Carried]:
        if not job.sender:
            return [Carried(0, "delivered", 250, "2.0.0", "ok")]
        return [Carried(0, "hard", 550, "5.1.1", "no such user"), Carried(1, "soft", 451, "", "later")]

    machine.courier.behave = both
    await machine.start()
    mid = await machine.accept("b@there.test", "c@there.test")
    await machine.until(lambda: len(machine.bounce_log.lines) == 2)
    bounced, delayed = machine.bounce_log.lines
    reason = "Reason: \"5.1.1 - Bad destination email address\" Response: \"('550', ['no such user'])\""
    assert bounced == f"Bounced: {mid}:0 From:<a@here.test> To:<b@there.test> {reason}"
    assert delayed.startswith(f'Delayed: {mid}:1 From:<a@here.test> To:<c@there.test> Reason: "4.1.0 - ')


async def test_a_message_with_very_many_recipients_is_told_of_in_several_reports(machine: Machine) -> None:
    await machine.start()
    mid = await machine.accept(*[f"u{number}@there.test" for number in range(5000)], verdict="bounce")
    await machine.until(lambda: machine.log.having(f"Message finished MID {mid}"), 20)
    await machine.until(lambda: len(machine.courier.carried) == 5)
    told = [address for report in reports(machine, mid) for address, _ in recipients_of(report)]
    assert sorted(told) == sorted(f"u{number}@there.test" for number in range(5000))
    assert machine.counters.counts["filter_hard_bounced_recips"] == 5000


async def test_a_report_that_cannot_be_made_does_not_end_all_reports(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mail.queue import report

    made = report.make_notice
    faults = [UnicodeError("a fault of ours")]

    def faulty(*args: object) -> object:
        if faults:
            raise faults.pop()
        return made(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(report, "make_notice", faulty)
    machine.courier.behave = refuse_all
    await machine.start()
    first = await machine.accept("b@there.test")
    await machine.until(lambda: machine.log.having(f"MID {first}: its bounce could not be recorded"))
    assert "internal error, incident " in machine.log.having(f"MID {first}: its bounce")[0]
    second = await machine.accept("c@there.test")
    await machine.until(lambda: machine.log.having(f"was generated for bounce of MID {second}"))
    machine.time += 61
    await machine.until(lambda: machine.log.having(f"was generated for bounce of MID {first}"))


async def test_a_success_report_that_the_journal_refuses_is_made_a_little_later(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was dropped with a line in the log."""
    monkeypatch.setattr("mail.queue.report.AGAIN_S", 0.05)
    queue = await machine.start()
    assert machine.own is not None
    append, refused = machine.own.append, list[int]()

    def full(mid: int, *_args: object) -> None:
        refused.append(mid)
        raise OSError("the journal is full")

    monkeypatch.setattr(machine.own, "append", full)
    mid = await machine.accept("b@there.test", notify="SUCCESS")
    await machine.until(lambda: machine.log.having("its success report could not be recorded and will be tried again"))
    monkeypatch.setattr(machine.own, "append", append)
    await machine.until(lambda: machine.log.having(f"was generated for success report of MID {mid}"))
    assert refused
    assert queue._reporter._put_off == 0
