"""`mail.queue.schedule`, `destination`, `connection`, `due`, `wheel`, `rule`: decisions without any I/O."""

from pathlib import Path

from core.journal import ContentRef
from core.record import HOLD_QUEUE, Accepted, Outcome, Recipient
from mail.bounce.profile import BounceProfile
from mail.delivery.limit import Limits
from mail.queue.connection import Connections
from mail.queue.destination import Destination, HostState
from mail.queue.due import MOST_SEEN
from mail.queue.message import NEVER, Message, Parcel, divide
from mail.queue.plan import MOST_AT_ONCE, MOST_LOOKS, Plan, make_plan, yields
from mail.queue.rule import (
    deliver_now,
    halt,
    limiting_rule,
    moving,
    reset_intervals,
    resume_hosts,
    suspend_hosts,
)
from mail.queue.schedule import Scheduler as Bare
from mail.queue.state import Reason, State


class Scheduler(Bare):
    """With the plan at hand, all of it at once."""

    def plan(self, now: float) -> Plan:
        whole = part = make_plan(self, now)
        while len(part.open) == MOST_AT_ONCE or self.stirred:
            part = make_plan(self, now)
            whole.open += part.open
            whole.close = part.close
        return whole


class Slot:
    """An open connection."""

    def __init__(self, address: str = "127.0.9.1") -> None:
        self.address = address


NOWHERE = ContentRef("journal", Path("x"), 0, 0, 0, 1)
KEY = ("there.test", "")


def parcel(
    mid: int = 1,
    *,
    at: float = 0.0,
    received_at: float = 0.0,
    domain: str = "there.test",
    sender: str = "a@here.test",
    gateway: str = "",
) -> Parcel:
    accepted = Accepted(mid, 1, received_at, sender, [Recipient(0, f"b@{domain}")], 0)
    outcome = Outcome(mid, "deliver", gateway=gateway)
    message = Message(accepted, outcome, NOWHERE, ("gateway-0", 1), stored=False)
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
    assert (
        limiting_rule(few, few.destination(KEY), 0.0)
        == "system limit: all 4 connections of the system are open; in turn after 0 others"
    )


def test_the_limit_of_a_destination_holds() -> None:
    one = scheduler()
    one.destination(KEY).limits = Limits(connections=2)
    one.destination(KEY).active = 50
    for mid in range(50):
        one.add(parcel(mid), 0.0)
    assert len(one.plan(0.0).open) == 2
    rule = limiting_rule(one, one.destination(KEY), 0.0)
    assert rule == "concurrency: all 2 connections that it may have are open"


def test_an_idle_connection_is_used_before_another_is_opened() -> None:
    one = filled(1)
    destination, book = one.destination(KEY), Connections(one)
    one.plan(0.0)
    book.opened(destination)
    slot = Slot()
    book.idle(destination, slot)
    one.add(parcel(7), 0.0)
    plan = one.plan(0.0)
    assert [(used, each.mid) for used, each in plan.hand] == [(slot, 7)]
    assert not plan.open


def test_a_host_that_refuses_is_down_and_asked_again_with_one_message() -> None:
    one = filled(10)
    destination, book = one.destination(KEY), Connections(one, lambda: 0.0)
    opens = one.plan(0.0).open
    assert [book.open_failed(destination, 0.0) for _ in opens] == [True] * 5
    assert destination.state is HostState.DOWN
    assert destination.failures == 1
    assert "next try in 59 s" in limiting_rule(one, destination, 1.0)
    assert limiting_rule(one, destination, 1.0).startswith("host down until ")
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
    book.opened(destination, 60.0)
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
    one.destination(KEY).state = HostState.UP
    parcels = [parcel(mid) for mid in range(6)]
    for each in parcels:
        one.add(each, 0.0)
    assert [each.state for each in parcels[4:]] == [State.PARKED] * 2
    destination = one.destination(KEY)
    for each in parcels[4:]:
        one.forget(each)
    asked = []
    one.due.wanted = lambda: asked.append(1)
    assert one.due.take(0.0) == []
    for _ in range(3):
        one.take(destination, 0.0)
    assert asked
    assert one.due.take(0.0) == [(destination, 3)]


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
    deliver_now(one, [late], [one.destination(KEY)])
    assert late.state is State.READY
    assert late.reason is Reason.DELIVER_NOW


def test_an_ordered_attempt_on_a_host_that_is_down_doubled_its_wait() -> None:
    one = filled(10)
    destination, book = one.destination(KEY), Connections(one, lambda: 0.0)
    for _ in one.plan(0.0).open:
        book.open_failed(destination, 0.0)
    assert destination.down_until == 60.0
    deliver_now(one, [], [destination])
    assert len(one.plan(10.0).open) == 1
    book.open_failed(destination, 10.0)
    assert destination.down_until == 70.0


def test_slow_destinations_do_not_count_as_moving() -> None:
    one = filled(100)
    assert moving(one, 0.0) == 0
    Connections(one).opened(one.plan(0.0).open[0][0])
    assert moving(one, 0.0) == 95
    one.tick(1.0)
    one.plan(1.0)
    one.tick(2.0)
    assert moving(one, 2.0) == 0


# Limits


def parcel_state(one: Scheduler, destination: Destination) -> State:
    """Give where one more parcel for a destination would stand."""
    each = parcel(77_777, domain=destination.name)
    one.add(each, 0.0)
    return each.state


def limited(count: int, **limits: object) -> Scheduler:
    one = scheduler()
    one.destination(KEY).limits = Limits(profile=BounceProfile(jitter=0), recipient_minutes=1, **limits)  # type: ignore[arg-type]
    for mid in range(count):
        one.add(parcel(mid), 0.0)
        one.destination(KEY).active += 1
    return one


def test_recipients_of_an_interval_are_counted_and_the_rule_says_how_many() -> None:
    one = limited(10, recipient_limit=3)
    destination = one.destination(KEY)
    assert [bool(one.take(destination, 0.0)) for _ in range(4)] == [True, True, True, False]
    assert limiting_rule(one, destination, 1.0).startswith("recipients per interval: 3 of 3 in 1 minute, until ")
    assert not one.plan(59.0).open
    one.tick(60.0)
    assert len(one.plan(60.0).open) == 3


def test_what_the_peer_never_saw_does_not_count_for_the_interval() -> None:
    one = limited(10, recipient_limit=1)
    destination = one.destination(KEY)
    first = one.take(destination, 0.0)
    assert first is not None
    one.give_back(first)
    assert one.take(destination, 0.0) is first
    Connections(one).refund(destination, 1)
    assert one.take(destination, 0.0) is not None


def test_a_message_with_more_recipients_than_the_interval_has_left_goes_in_parts() -> None:
    one = limited(0, recipient_limit=3)
    destination = one.destination(KEY)
    accepted = Accepted(1, 1, 0.0, "a@here.test", [Recipient(n, f"r{n}@there.test") for n in range(8)], 0)
    message = Message(accepted, Outcome(1, "deliver"), NOWHERE, ("gateway-0", 1), stored=False)
    one.add(divide(message, accepted.recipients, 100)[0], 0.0)
    first = one.take(destination, 0.0)
    assert first is not None
    assert [each.rid for each in first.recipients] == [0, 1, 2]
    assert one.take(destination, 30.0) is None
    second = one.take(destination, 61.0)
    assert second is not None
    assert [each.rid for each in second.recipients] == [3, 4, 5]


def test_virtual_gateways_share_an_interval_unless_each_has_its_own() -> None:
    for per_gateway, granted in ((False, 2), (True, 4)):
        one = scheduler()
        own = Limits(recipient_limit=2, recipient_minutes=1, per_gateway=per_gateway)
        one._limits = lambda _name, own=own: own  # type: ignore[misc]
        for mid in range(8):
            one.add(parcel(mid, gateway="red" if mid % 2 else "blue"), 0.0)
        taken = [one.take(each, 0.0) for each in list(one.destinations.values()) for _ in range(4)]
        assert sum(each is not None for each in taken) == granted


def test_limits_by_address_wait_only_when_no_other_address_answers() -> None:
    one = limited(10, recipient_limit=1, per_address=True)
    destination, book = one.destination(KEY), Connections(one)
    parcels = [each for _, each in one.plan(0.0).open]
    assert book.charge(destination, parcels[0], 0.0, "127.0.9.1")
    assert not book.charge(destination, parcels[1], 0.0, "127.0.9.1")
    assert not destination.blocked_until(0.0)
    assert book.charge(destination, parcels[1], 0.0, "127.0.9.2")
    assert not book.charge(destination, parcels[2], 0.0, "127.0.9.1")
    assert destination.blocked_until(0.0) == 60.0
    destination.active = 1
    assert "used up at 127.0.9.1" in limiting_rule(one, destination, 1.0)


def test_an_operator_can_begin_all_intervals_anew() -> None:
    one = limited(10, recipient_limit=1)
    destination = one.destination(KEY)
    assert one.take(destination, 0.0)
    assert not one.take(destination, 0.0)
    reset_intervals(one)
    assert one.take(destination, 0.0)


def test_virtual_gateways_share_the_connections_of_a_domain_unless_each_has_its_own() -> None:
    for per_gateway, granted in ((False, 3), (True, 6)):
        one = scheduler()
        own = Limits(connections=3, per_gateway=per_gateway)
        one._limits = lambda _name, own=own: own  # type: ignore[misc]
        for mid in range(20):
            one.add(parcel(mid, gateway="red" if mid % 2 else "blue"), 0.0)
        opens = one.plan(0.0).open
        assert len(opens) == granted
        red = one.destination(("there.test", "red"))
        red.active = 1
        if not per_gateway:
            rule = limiting_rule(one, red, 0.0)
            assert rule == "concurrency: all 3 connections that it may have with other virtual gateways are open"


def test_the_place_of_a_closed_connection_goes_to_the_other_gateway_of_the_domain() -> None:
    one = scheduler()
    one._limits = lambda _name: Limits(connections=1)
    for mid in range(20):
        one.add(parcel(mid, gateway="red" if mid < 10 else "blue"), 0.0)
    ((first, _),) = one.plan(0.0).open
    book = Connections(one)
    book.opened(first)
    one.plan(0.0)
    book.closed(first)
    ((second, _),) = one.plan(0.0).open
    assert {first.target, second.target} == {"red", "blue"}


def test_a_new_connection_follows_at_once_when_one_is_closed_with_work_left() -> None:
    one = limited(50, connections=1)
    destination, book = one.destination(KEY), Connections(one)
    one.plan(0.0)
    book.opened(destination)
    assert not one.plan(0.0).open
    book.closed(destination)
    assert len(one.plan(0.0).open) == 1


def test_no_free_address_is_nobodys_fault_and_has_a_rule() -> None:
    one = filled(10)
    destination, book = one.destination(KEY), Connections(one, lambda: 0.5)
    for opening, each in one.plan(0.0).open:
        book.no_address(opening, 0.0, "all addresses of there.test have 2 connections")
        one.give_back(each)
    assert destination.state is HostState.UNKNOWN
    assert not one.plan(0.5).open
    assert limiting_rule(one, destination, 0.5) == "concurrency: all addresses of there.test have 2 connections"
    one.tick(1.25)
    assert one.plan(1.25).open


# Suspension


def test_a_suspended_destination_stands_still_while_others_go_on() -> None:
    one = filled(3)
    one.add(parcel(9, domain="else.test"), 0.0)
    suspend_hosts(one, ["there.test"])
    assert [destination.name for destination, _ in one.plan(0.0).open] == ["else.test"]
    assert limiting_rule(one, one.destination(KEY), 0.0) == "Deliveries are currently suspended"
    late = parcel(10)
    one.add(late, 0.0)
    assert late.reason is Reason.BLOCKED
    resume_hosts(one, ["there.test"], 1.0)
    assert {destination.name for destination, _ in one.plan(1.0).open} == {"there.test"}


def test_a_destination_that_is_new_after_its_suspension_is_suspended() -> None:
    one = scheduler()
    suspend_hosts(one, ["there.test"])
    one.add(parcel(1), 0.0)
    assert not one.plan(0.0).open


def test_destinations_that_were_stopped_together_do_not_begin_together() -> None:
    one = scheduler()
    for mid in range(2000):
        one.add(parcel(mid, domain=f"d{mid}.test"), 0.0)
        one.destination((f"d{mid}.test", "")).active = 1
    halt(one, "delivery is suspended", 0.0)
    assert not one.plan(0.0).open
    chances = iter(range(1, 2000))
    halt(one, "", 100.0, lambda: next(chances) / 2000)
    assert len(one.plan(100.0).open) == 20
    one.tick(101.1)
    assert 500 < len(one.plan(101.1).open) < 1500
    one.tick(102.5)
    one.plan(102.5)
    assert one.connections == 2000


# Waking up


def test_a_host_that_answers_again_gets_many_parcels_one_after_the_other() -> None:
    one = filled(1)
    destination, book = one.destination(KEY), Connections(one, lambda: 0.5)
    ((_, probe),) = one.plan(0.0).open
    book.open_failed(destination, 0.0)
    waiting = [probe]
    for mid in range(10, 1010):
        each = parcel(mid)
        each.move(Reason.NOT_DUE)
        waiting.append(each)
    probe.move(Reason.UNREACHABLE)
    for each in waiting:
        each.host_level = True
        one.wait(each, 3000.0)
    one.add(parcel(5), 60.0)
    ((_, opened),) = one.plan(60.0).open
    assert opened.mid == 5
    book.opened(destination, 60.0)
    assert sum(each.state is State.READY for each in waiting) == 20
    one.tick(60.0 + 1000 / 50)
    assert all(each.state is State.READY for each in waiting)


def test_the_timer_has_one_entry_for_a_blocked_destination_however_often_it_is_stirred() -> None:
    one = filled(10)
    destination, book = one.destination(KEY), Connections(one, lambda: 0.0)
    for opening, _ in one.plan(0.0).open:
        book.open_failed(opening, 0.0)
    for _ in range(1000):
        one.stir(destination)
        one.plan(1.0)
    assert len(one.wheel) == 1


# Fairness across destinations


def test_no_destination_starves_when_all_connections_are_open() -> None:
    """Each of 40 gets a connection after at most as many messages as there are others, times a turn of 50."""
    one = scheduler(connections=4)
    book = Connections(one)
    for mid in range(2000):
        one.add(parcel(mid, domain="hog.test"), 0.0)
    hogs = [destination for destination, _ in one.plan(0.0).open]
    assert len(hogs) == 4
    for destination in hogs:
        book.opened(destination)
    for mid in range(40):
        one.add(parcel(5000 + mid, domain=f"d{mid}.test"), 0.0)
    open_now = [[destination, 1] for destination in hogs]
    served: set[str] = set()
    carried = 0
    while len(served) < 41:
        slot = open_now.pop(0)
        destination = slot[0]
        plan = one.plan(0.0)
        assert not plan.open
        if yields(one, destination, slot[1]) or one.take(destination, 0.0) is None:
            book.closed(destination)
        else:
            carried += 1
            slot[1] += 1
            open_now.append(slot)
        for opened, _ in one.plan(0.0).open:
            book.opened(opened)
            served.add(opened.name)
            open_now.append([opened, 1])
        served.add("hog.test")
    assert carried < 100


def test_a_destination_alone_gives_up_no_connection() -> None:
    one = filled(2000, connections=4)
    book = Connections(one)
    for destination, _ in one.plan(0.0).open:
        book.opened(destination)
    one.plan(0.0)
    assert not one.hungry or not yields(one, one.destination(KEY), 49)


def test_idle_connections_are_closed_when_others_wait_for_one() -> None:
    one = filled(1, connections=1)
    destination, book = one.destination(KEY), Connections(one)
    one.plan(0.0)
    book.opened(destination)
    book.idle(destination, Slot())
    one.add(parcel(9, domain="else.test"), 0.0)
    plan = one.plan(0.0)
    assert plan.close == 1
    assert not plan.open


def test_ten_thousand_hosts_that_are_down_do_not_keep_a_living_one_waiting() -> None:
    one = scheduler(connections=400)
    for number in range(10_000):
        key = (f"d{number}.test", "")
        one.destination(key).state = HostState.DOWN
        one.add(parcel(number, domain=key[0]), 0.0)
    one.add(parcel(20_000, domain="living.test"), 0.0)
    opens = one.plan(0.0).open
    assert len(opens) == 101
    assert "living.test" in [destination.name for destination, _ in opens]
    down = one.destination(("d0.test", ""))
    assert parcel_state(one, down) is State.PARKED


def test_hosts_not_known_to_be_up_fill_only_a_part_of_memory() -> None:
    one = scheduler(connections=50)
    one.cold_limit = 100
    parcels = [parcel(number, domain=f"d{number}.test") for number in range(300)]
    for each in parcels:
        one.add(each, 0.0)
    assert sum(each.state is State.READY for each in parcels) == 100
    one.destination(("up.test", "")).state = HostState.UP
    living = parcel(999, domain="up.test")
    one.add(living, 0.0)
    assert living.state is State.READY


def test_a_full_line_still_takes_another_sender() -> None:
    one = scheduler(ready_limit=10)
    one.destination(KEY).state = HostState.UP
    hog = [parcel(mid) for mid in range(30)]
    for each in hog:
        one.add(each, 0.0)
    other = parcel(99, sender="b@else.test")
    one.add(other, 0.0)
    assert sum(each.state is State.READY for each in hog) == 10
    assert other.state is State.READY


def test_no_plan_keeps_the_loop_for_long() -> None:
    one = scheduler()
    asked = []
    one.plan_wanted = lambda: asked.append(1)
    for number in range(100):
        one.add(parcel(number, domain=f"d{number}.test"), 0.0)
    asked.clear()
    assert len(make_plan(one, 0.0).open) == MOST_AT_ONCE
    assert asked


def test_the_loader_looks_at_a_bounded_number_of_destinations_in_one_turn() -> None:
    one = scheduler()
    for number in range(MOST_SEEN + 500):
        destination = one.destination((f"d{number}.test", ""))
        destination.stored = 1
        one.due.note(destination, 0.0)
        one.due.look(destination, 1.0)
        destination.paused = True
    assert one.due.take(1.0) == []
    assert len(one.due) == 500


def test_destinations_that_are_due_together_are_looked_at_a_few_at_a_time() -> None:
    one = scheduler()
    for number in range(2500):
        destination = one.destination((f"d{number}.test", ""))
        destination.stored = 1
        one.due.note(destination, 0.0)
    assert one.tick(1.0, 1000)
    assert len(one.due) == 1000
    assert one.tick(1.0, 1000)
    assert not one.tick(1.0, 1000)
    assert len(one.due) == 2500


def test_a_plan_looks_at_a_bounded_number_of_destinations() -> None:
    one = scheduler()
    for number in range(MOST_LOOKS + 500):
        one.add(parcel(number, domain=f"d{number}.test"), 0.0)
    assert len(one.stirred) == MOST_LOOKS + 500
    wanted: list[bool] = []
    one.plan_wanted = lambda: wanted.append(True)
    make_plan(one, 0.0)
    assert len(one.stirred) == 500
    assert wanted
    make_plan(one, 0.0)
    assert not one.stirred
