"""Why a destination's mail does not move, in words, what does move, and the order to try it now.

Used by the views, the importer and operators' commands. Each limit of the scheduler has its sentence here.
"""

from collections.abc import Callable

from mail.queue.destination import Destination
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason

HELD = "held on this machine: never attempted; release or delete it"


def limiting_rule(scheduler: Scheduler, destination: Destination, now: float) -> str:
    """Say what keeps a destination's mail from moving, '' if nothing does."""
    if destination.held:
        return HELD
    if not destination.active:
        return ""
    return scheduler.stopped or _host(destination, now) or _concurrency(scheduler, destination, now)


def _host(destination: Destination, now: float) -> str:
    until = destination.blocked_until(now)
    if until > now:
        return f"host down: next try in {until - now:.0f} s ({destination.last_failure})"
    if not destination.ready and not destination.busy and not destination.opening:
        if destination.earliest <= now:
            return "memory: its mail is being loaded from the index"
        return "retry: all wait for their next attempt"
    return ""


def _concurrency(scheduler: Scheduler, destination: Destination, now: float) -> str:
    if not destination.ready:
        return ""
    if destination.lines >= destination.limits.connections:
        return f"concurrency: all {destination.limits.connections} connections that it may have are open"
    if scheduler.connections >= scheduler.max_connections:
        return f"concurrency: all {scheduler.max_connections} connections of the system are open"
    if destination.open_after > now:
        return f"concurrency: the peer refuses more than {destination.lines} connections"
    if destination.lines >= destination.window:
        return f"concurrency: {destination.lines} connections keep up; more are opened when they do not"
    return ""


def moving(scheduler: Scheduler, now: float) -> int:
    """Count what is ready for destinations that get through it soon: more need not be imported yet."""
    scheduler.lined = {key: one for key, one in scheduler.lined.items() if one.ready}
    if scheduler.stopped:
        return 0
    return sum(len(one.ready) for one in scheduler.lined.values() if not one.slow and not one.blocked_until(now))


def halt(scheduler: Scheduler, why: str) -> None:
    """Attempt nothing more; '' to go on."""
    scheduler.stopped = why
    if not why:
        for destination in scheduler.destinations.values():
            scheduler.stir(destination)


def deliver_now(scheduler: Scheduler, chosen: Callable[[Destination], bool], now: float) -> list[Destination]:
    """Try what waits at once; gives the destinations, whose rows in the index the caller makes due as well."""
    found = [one for one in scheduler.destinations.values() if chosen(one) and not one.held]
    keys = {one.key for one in found}
    for parcel in scheduler.waiting.select(lambda one: one.destination in keys):
        scheduler.ready(parcel, Reason.DELIVER_NOW)
    for destination in found:
        destination.down_until = destination.open_after = 0.0
        if destination.stored:
            scheduler.due.note(destination, now)
        scheduler.stir(destination)
    return found
