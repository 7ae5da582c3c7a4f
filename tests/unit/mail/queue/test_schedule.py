"""`mail.queue.schedule`, `destination`, `connection`, `due`, `wheel`, `rule`: decisions without any I/O."""

from pathlib import Path

from core.journal import ContentRef
from core.record import HOLD_QUEUE, Accepted, Outcome, Recipient
from mail.queue.connection import Connections
from mail.queue.destination import HostState, Limits
from mail.queue.message import NEVER, Message, Parcel, divide
from mail.queue.retry import BounceProfile
from mail.queue.rule import deliver_now, halt, limiting_rule, moving
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason, State

NOWHERE = ContentRef("journal", Path("x"), 0, 0, 0, 1)
KEY = ("there.test", "")


def parcel(mid: int = 1, *, at: float = 0.0, received_at: float = 0.0, domain: str = "there.test") -> Parcel:
    accepted = Accepted(mid, 1, received_at, "a@here.test", [Recipient(0, f"b@{domain}")], 0)
    message = Message(accepted, Outcome(mid, "deliver"), NOWHERE, ("gateway-0", 1), stored=False)
    (one,) = divide(message, accepted.recipients, 10)
    one.next_attempt_at = at
    return one


def scheduler(*, ready_limit: int = 1000, connections: int = 10_000, **limits: int) -> Scheduler:
    granted = Limits(profile=BounceProfile(jitter=0, max_in_queue_s=1000), **limits)
    return Scheduler(lambda _name: granted, ready_limit=ready_limit, connections=connections)


def filled(count: int, **settings: int) -> Scheduler:
    one = scheduler(**settings)
    for mid in range(count):
        one.add(parcel(mid), 0.0)
        one.destination(KEY).active += 1
    return one


def test_mail_is_taken_in_the_order_in_which_it_came() -> None:
    one = filled(3)
    taken = [one.take(one.destination(KEY), 0.0) for _ in range(4)]
    assert [each.mid if each else None for each in taken] == [0, 1, 2, None]


def test_little_is_opened_to_a_host_that_nobody_knows() -> None:
    assert len(filled(100).plan(0.0).open) == 5


def test_connections_grow_only_while_they_do_not_keep_up() -> None:
    one = filled(500)
    destination, book = one.destination(KEY), Connections(one)
    for moment in range(1, 5):
        for opening, _ in one.plan(moment / 100).open:
            book.opened(opening)
    assert destination.lines == 20
    for _ in range(400):
        one.take(destination, 0.1)
    one.tick(1.0)
    assert not one.plan(1.0).open
    one.tick(2.0)
    assert len(one.plan(2.0).open) == 20


def test_the_limit_of_the_system_holds() -> None:
    few = filled(100, connections=4)
    assert len(few.plan(0.0).open) == 4
    assert limiting_rule(few, few.destination(KEY), 0.0) == "concurrency: all 4 connections of the system are open"


def test_the_limit_of_a_destination_holds() -> None:
    one = scheduler()
    one.destination(KEY).limits = Limits(connections=2)
    for mid in range(50):
        one.add(parcel(mid), 0.0)
    assert len(one.plan(0.0).open) == 2


def test_an_idle_connection_is_used_before_another_is_opened() -> None:
    one = filled(1)
    destination, book = one.destination(KEY), Connections(one)
    one.plan(0.0)
    book.opened(destination)
    book.idle(destination, "slot")
    one.add(parcel(7), 0.0)
    plan = one.plan(0.0)
    assert [(slot, each.mid) for slot, each in plan.hand] == [("slot", 7)]
    assert not plan.open


def test_a_host_that_refuses_is_down_and_asked_again_with_one_message() -> None:
    one = filled(10)
    destination, book = one.destination(KEY), Connections(one, lambda: 0.0)
    opens = one.plan(0.0).open
    assert [book.open_failed(destination, 0.0) for _ in opens] == [True] * 5
    assert destination.state is HostState.DOWN
    assert destination.failures == 1
    assert limiting_rule(one, destination, 1.0).startswith("host down: next try in 59 s")
    one.tick(59.0)
    assert not one.plan(59.0).open
    one.tick(60.0)
    assert len(one.plan(60.0).open) == 1
    assert book.open_failed(destination, 60.0)
    assert destination.down_until == 180.0


def test_what_waited_for_the_host_goes_as_soon_as_it_answers() -> None:
    one = filled(2)
    destination, book = one.destination(KEY), Connections(one, lambda: 0.0)
    (_, first), (_, second) = one.plan(0.0).open
    for each in (first, second):
        book.open_failed(destination, 0.0)
        each.move(Reason.UNREACHABLE)
        each.host_level = True
        one.wait(each, 3000.0)
    one.add(parcel(9), 60.0)
    one.plan(60.0)
    book.opened(destination)
    assert {first.state, second.state} == {State.READY}
    assert first.reason is Reason.HOST_UP


def test_one_refused_connection_of_several_is_no_outage() -> None:
    one = filled(20)
    destination, book = one.destination(KEY), Connections(one)
    one.plan(0.0)
    book.opened(destination)
    assert not book.open_failed(destination, 0.0)
    assert destination.state is HostState.UP
    assert not one.plan(0.0).open
    assert "the peer refuses more than 1 connections" in limiting_rule(one, destination, 0.0)


def test_old_mail_is_expired_instead_of_taken() -> None:
    one = scheduler()
    gone: list[Parcel] = []
    one.expire = gone.append
    one.add(parcel(1, received_at=0.0), 1001.0)
    one.add(parcel(2, received_at=900.0), 1001.0)
    taken = one.take(one.destination(KEY), 1001.0)
    assert taken is not None
    assert taken.mid == 2
    assert [(each.mid, each.state) for each in gone] == [(1, State.FAILING)]


def test_mail_waits_for_its_time_and_no_longer_than_a_second_more() -> None:
    one = scheduler()
    late = parcel(1, at=100.5)
    one.add(late, 0.0)
    one.tick(100.4)
    assert late.state is State.WAITING
    one.tick(101.0)
    assert late.state is State.READY


def test_more_than_the_limit_is_parked_and_asked_for_when_there_is_room() -> None:
    one = scheduler(ready_limit=4)
    parcels = [parcel(mid) for mid in range(6)]
    for each in parcels:
        one.add(each, 0.0)
    assert [each.state for each in parcels[4:]] == [State.PARKED] * 2
    destination = one.destination(KEY)
    for each in parcels[4:]:
        one.forget(each)
    asked = []
    one.due.wanted = lambda: asked.append(1)
    assert one.due.take(0.0, 4) == []
    for _ in range(3):
        one.take(destination, 0.0)
    assert asked
    assert one.due.take(0.0, 4) == [(destination, 3)]


def test_held_mail_is_never_in_line() -> None:
    one = scheduler()
    each = parcel(1)
    each.destination = (HOLD_QUEUE, "")
    one.add(each, 0.0)
    assert each.state is State.PARKED
    assert each.next_attempt_at == NEVER
    assert not one.plan(0.0).open


def test_nothing_moves_while_stopped_and_everything_after() -> None:
    one = filled(3)
    halt(one, "delivery is suspended")
    assert not one.plan(0.0).open
    assert limiting_rule(one, one.destination(KEY), 0.0) == "delivery is suspended"
    halt(one, "")
    assert one.plan(0.0).open


def test_an_operator_can_have_waiting_mail_tried_now() -> None:
    one = scheduler()
    late = parcel(1, at=5000.0)
    one.add(late, 0.0)
    assert deliver_now(one, lambda each: each.name == "there.test", 1.0)
    assert late.state is State.READY
    assert late.reason is Reason.DELIVER_NOW


def test_slow_destinations_do_not_count_as_moving() -> None:
    one = filled(100)
    assert moving(one, 0.0) == 100
    one.plan(0.0)
    one.tick(1.0)
    one.plan(1.0)
    one.tick(2.0)
    assert moving(one, 2.0) == 0
