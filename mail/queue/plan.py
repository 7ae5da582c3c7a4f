"""Which connections to open, and for whom, where there are not enough for all: the I/O that follows from what changed.

Each destination that wants a connection stands in line and gets one at a time, then stands at the end again. Hosts
that were down stand in a line of their own and have at most a quarter of all connections being opened, so that
thousands of dead ones never keep a living one waiting. When all connections of the system are open and somebody is in
line, idle ones are closed, and a destination that has more than an equal share, or has had a turn of `TURN` messages on
a connection, gives that connection up (`yields`). So whoever wants a connection gets one after at most as many turns as
there are destinations before it in line.

Used by the dispatcher; works on the scheduler. Knows no socket and no clock.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mail.queue.destination import REVIEW_S, Destination, HostState
from mail.queue.message import Parcel
from mail.queue.schedule import Scheduler, look

MOST_AT_ONCE = 16
"""Connections to open in one plan; the next plan follows when others have had their turn of the loop."""
MOST_LOOKS = 1000
"""Destinations that one plan looks at, likewise."""
TURN = 50
"""Messages on one connection, while others wait for one."""


@dataclass(slots=True)
class Plan:
    """The I/O to do: parcels for idle connections, connections to open, each for a parcel, idle ones to close."""

    hand: list[tuple[Any, Parcel]] = field(default_factory=list)
    open: list[tuple[Destination, Parcel]] = field(default_factory=list)
    close: int = 0
    """How many idle connections to close, whosever they are."""


def make_plan(scheduler: Scheduler, now: float) -> Plan:
    """Decide for every destination where something changed, and for those that wait for a connection."""
    plan = Plan()
    for destination in _stirred(scheduler):
        _look(scheduler, destination, now, plan)
    while len(plan.open) < MOST_AT_ONCE and _serve_one(scheduler, now, plan):
        pass
    if len(plan.open) == MOST_AT_ONCE or scheduler.stirred:
        scheduler.plan_wanted()
    if scheduler.hungry and scheduler.connections >= scheduler.max_connections:
        plan.close = len(scheduler.hungry)
    return plan


def _stirred(scheduler: Scheduler) -> list[Destination]:
    """Take those where something changed, so many at a time."""
    if len(scheduler.stirred) <= MOST_LOOKS:
        found, scheduler.stirred = list(scheduler.stirred.values()), {}
        return found
    keys = list(islice(scheduler.stirred, MOST_LOOKS))
    return [scheduler.stirred.pop(key) for key in keys]


def yields(scheduler: Scheduler, destination: Destination, carried: int) -> bool:
    """Tell whether a connection that has carried so many messages is closed, because others wait for one."""
    others = len(scheduler.hungry) - (destination.key in scheduler.hungry)
    if scheduler.connections < scheduler.max_connections or not others:
        return False
    share = scheduler.max_connections // (scheduler.served + others)
    return carried >= TURN or destination.lines > max(1, share)


def _look(scheduler: Scheduler, destination: Destination, now: float, plan: Plan) -> None:
    """Use idle connections, have the destination stand in line for more, and set the timer."""
    while destination.idle and destination.ready:
        slot = destination.idle.pop()
        parcel = scheduler.take(destination, now, slot.address)
        if parcel is None:
            destination.idle.append(slot)
            break
        plan.hand.append((slot, parcel))
        destination.busy += 1
    destination.wants = 0 if scheduler.stopped else destination.wanted(now)
    if destination.wants:
        down = destination.state is HostState.DOWN
        (scheduler.hungry_down if down else scheduler.hungry)[destination.key] = destination
    if destination.ready and not destination.review_at and not destination.blocked_until(now):
        destination.review_at = now + REVIEW_S
    look(scheduler, destination, now)


def _serve_one(scheduler: Scheduler, now: float, plan: Plan) -> bool:
    """Give the next destination in line a connection; false if nobody can get one."""
    if scheduler.connections >= scheduler.max_connections:
        return False
    line = _line(scheduler, len(plan.open))
    if line is None:
        return False
    _, destination = line.popitem(last=False)
    parcel = scheduler.take(destination, now) if destination.may_open(now) else None
    if parcel is None:
        return True
    if destination.state is HostState.DOWN:
        destination.retrying += 1
        scheduler.retrying += 1
    destination.opening += 1
    scheduler.connections += 1
    plan.open.append((destination, parcel))
    destination.wants -= 1
    if destination.wants:
        line[destination.key] = destination
    return True


def _line(scheduler: Scheduler, turn: int) -> OrderedDict[tuple[str, str], Destination] | None:
    """Choose whose line is served: one in four is for hosts that were down, and they have a quarter of all."""
    most = min(scheduler.cold_limit, max(1, scheduler.max_connections // 4))
    down_may = scheduler.hungry_down and scheduler.retrying < most
    if down_may and (not scheduler.hungry or turn % 4 == 3):
        return scheduler.hungry_down
    return scheduler.hungry or None
