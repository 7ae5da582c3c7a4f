"""What the queue remembers of destinations that it has nothing for."""

from mail.delivery.limit import Limits
from mail.queue.connection import Connections
from mail.queue.memory import forget_idle
from mail.queue.schedule import Scheduler
from tests.unit.mail.queue.test_schedule import parcel


def scheduler(count: int) -> Scheduler:
    one = Scheduler(lambda _name: Limits())
    for number in range(count):
        one.destination((f"d{number}.test", "")).last_activity_at = float(number)
    return one


def test_the_longest_idle_go_and_only_those_that_are_too_many() -> None:
    one = scheduler(10)
    assert forget_idle(one, most=10) == 0
    assert forget_idle(one, most=3) == 7
    assert [name for name, _ in one.destinations] == ["d7.test", "d8.test", "d9.test"]


def test_what_has_mail_or_connections_stays() -> None:
    one = scheduler(6)
    kept = [one.destination((f"d{number}.test", "")) for number in range(5)]
    kept[0].active = 1
    kept[1].stored = 1
    kept[2].opening = 1
    kept[3].opening = 1
    Connections(one).opened(kept[3])
    kept[4].ready.append(parcel())
    assert forget_idle(one, most=0) == 1
    assert list(one.destinations.values()) == kept


def test_a_destination_that_is_gone_leaves_the_timer_and_its_siblings() -> None:
    one = scheduler(1)
    destination, other = one.destination(("d0.test", "")), one.destination(("d0.test", "gate"))
    one.wheel.put(destination, 1.0)
    other.active = 1
    forget_idle(one, most=0)
    assert len(one.wheel) == 0
    assert list(one.destinations.values()) == one.by_name["d0.test"] == [other]
    assert not other.siblings
