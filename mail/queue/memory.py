"""How many destinations the queue remembers that it has nothing for.

Each domain that mail was ever queued for has counts, a host state and a window, which operators look at and the next
message profits from. Spam and bounces name domains without end, so what has been idle longest is let go. Called now
and then by the queue; does no I/O.
"""

from collections.abc import Callable

from mail.queue.destination import Destination
from mail.queue.schedule import Scheduler

MOST_IDLE = 10_000


def forget_idle(
    scheduler: Scheduler, most: int = MOST_IDLE, forgotten: Callable[[tuple[str, str]], None] = lambda _key: None
) -> int:
    """Let go of destinations without mail and connections, beyond `most` the longest idle; give how many went.

    `forgotten` is told of each.
    """
    if len(scheduler.destinations) <= most:
        return 0
    idle = [one for one in scheduler.destinations.values() if _is_idle(one)]
    if len(idle) <= most:
        return 0
    idle.sort(key=lambda one: one.last_activity_at, reverse=True)
    for one in idle[most:]:
        _forget(scheduler, one)
        forgotten(one.key)
    return len(idle) - most


def _forget(scheduler: Scheduler, one: Destination) -> None:
    del scheduler.destinations[one.key]
    scheduler.wheel.discard(one)
    for other in one.siblings:
        other.siblings = tuple(each for each in other.siblings if each is not one)
    same = scheduler.by_name[one.name]
    same.remove(one)
    if not same:
        del scheduler.by_name[one.name]


def _is_idle(one: Destination) -> bool:
    return not (one.active or one.stored or one.ready or one.lines or one.opening)
