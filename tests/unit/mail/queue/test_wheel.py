"""`mail.queue.wheel`: one entry for each thing, in time, and nothing stale."""

import math
import random

from mail.queue.wheel import ABSENT, Wheel


class Thing:
    def __init__(self) -> None:
        self.slot = ABSENT


def test_things_come_in_time_and_not_before() -> None:
    wheel: Wheel[Thing] = Wheel()
    chance = random.Random(7)
    at = {Thing(): chance.uniform(0, 1000) for _ in range(1000)}
    for thing, moment in at.items():
        wheel.put(thing, moment)
    for tenth in range(0, 10_010):
        for thing in wheel.due(tenth / 10):
            assert at[thing] <= tenth / 10 <= at.pop(thing) + 0.35
    assert not at


def test_putting_a_thing_again_moves_it() -> None:
    wheel: Wheel[Thing] = Wheel()
    thing = Thing()
    wheel.put(thing, 5.0)
    wheel.put(thing, 50.0)
    assert list(wheel.due(49.0)) == []
    assert list(wheel.due(50.0)) == [thing]
    assert len(wheel) == 0


def test_the_earlier_of_two_times_holds() -> None:
    wheel: Wheel[Thing] = Wheel()
    thing = Thing()
    wheel.put_early(thing, 10.0)
    wheel.put_early(thing, 20.0)
    wheel.put_early(thing, math.inf)
    assert list(wheel.due(10.0)) == [thing]
    wheel.put_early(thing, math.inf)
    assert len(wheel) == 0


def test_a_thing_moved_a_million_times_leaves_nothing_behind() -> None:
    wheel: Wheel[Thing] = Wheel()
    things = [Thing() for _ in range(10)]
    for turn in range(100_000):
        wheel.put(things[turn % 10], float(turn))
    assert len(wheel) == 10
    assert len(wheel._order) < 100


def test_a_thing_is_never_put_for_never() -> None:
    wheel: Wheel[Thing] = Wheel()
    thing = Thing()
    wheel.put(thing, 5.0)
    wheel.put(thing, math.inf)
    wheel.discard(thing)
    assert len(wheel) == 0


def test_what_is_due_together_comes_a_few_at_a_time() -> None:
    wheel, things = Wheel[Thing](), [Thing() for _ in range(10)]
    for thing in things:
        wheel.put(thing, 1.0)
    first = list(wheel.due(2.0, 4))
    assert len(first) == 4
    wheel.discard(next(thing for thing in things if thing not in first))
    wheel.put(first[0], 1.0)
    assert len(list(wheel.due(2.0))) == 6
    assert not len(wheel)
    assert all(thing.slot == ABSENT for thing in things)
