"""Why a destination's mail does not move, in words, what does move, and the order to try it now.

Used by the views, the importer and operators' commands. Each limit of the scheduler has its sentence here; the first
one that holds is the one that is named.
"""

import random
import time
from collections.abc import Iterable

from core import clock
from mail.bounce.profile import Chance
from mail.queue.connection import spread_s
from mail.queue.destination import Destination, HostState
from mail.queue.message import NEVER, Parcel
from mail.queue.schedule import Scheduler, look
from mail.queue.state import Reason, State

HELD = "held on this machine: never attempted; release or delete it"
SUSPENDED = "Deliveries are currently suspended"


def limiting_rule(scheduler: Scheduler, destination: Destination, now: float) -> str:
    """Say what keeps a destination's mail from moving, '' if nothing does."""
    if destination.held:
        return HELD
    if not destination.active:
        return ""
    if destination.paused:
        return SUSPENDED
    return (
        scheduler.stopped
        or _host(destination, now)
        or _interval(scheduler, destination, now)
        or _absent(scheduler, destination, now)
        or _concurrency(scheduler, destination, now)
    )


def _host(destination: Destination, now: float) -> str:
    if destination.state is not HostState.DOWN:
        return ""
    if destination.down_until > now:
        left = destination.down_until - now
        return f"host down until {time.ctime(destination.down_until)}: next try in {left:.0f} s ({_cause(destination)})"
    if destination.opening:
        return f"host down: being tried now ({_cause(destination)})"
    return f"host down: next in turn to be tried ({_cause(destination)})"


def _cause(destination: Destination) -> str:
    return destination.last_failure or "no connection at the last attempt"


def _interval(scheduler: Scheduler, destination: Destination, now: float) -> str:
    limits = destination.limits
    if not limits.recipient_limit:
        return ""
    minutes = "1 minute" if limits.recipient_minutes == 1 else f"{limits.recipient_minutes} minutes"
    what = f"of {limits.recipient_limit} in {minutes}"
    full = {address: until for address, until in destination.full.items() if until > now}
    if destination.full_until > now and full:
        where = ", ".join(sorted(full))
        return f"recipients per interval: {what}, used up at {where}, until {time.ctime(min(full.values()))}"
    if destination.full_until > now:
        used = scheduler.intervals.grant(destination, now).used
        return f"recipients per interval: {used} {what}, until {time.ctime(destination.full_until)}"
    return ""


def _absent(scheduler: Scheduler, destination: Destination, now: float) -> str:
    """Say why nothing is in line."""
    if destination.ready or destination.busy or destination.opening:
        return ""
    if destination.stored and destination.earliest <= now:
        return f"memory: its mail is in the index and will be loaded ({len(scheduler.due)} destinations in turn)"
    at = min(destination.earliest, min((one.next_attempt_at for one in destination.hurt), default=NEVER))
    if at < NEVER and at > now:
        return f"retry: nothing is due before {time.ctime(at)}"
    return "retry: all wait for their next attempt"


def _concurrency(scheduler: Scheduler, destination: Destination, now: float) -> str:
    if not destination.ready:
        return ""
    if destination.in_use >= destination.most:
        shared = " with other virtual gateways" if destination.siblings and not destination.limits.per_gateway else ""
        return f"concurrency: all {destination.limits.connections} connections that it may have{shared} are open"
    if scheduler.connections >= scheduler.max_connections:
        place = _place(scheduler, destination)
        return f"system limit: all {scheduler.max_connections} connections of the system are open{place}"
    if destination.open_after > now:
        return f"concurrency: {destination.pause_reason}"
    return _window(destination)


def _window(destination: Destination) -> str:
    window = destination.window
    if destination.lines < window.size:
        return f"connecting: {destination.opening} connections are being opened" if destination.opening else ""
    if window.refused_at:
        return (
            f"feedback: {destination.lines} connections are what the peer is known to bear, since it refused more at"
            f" {time.ctime(window.refused_at)}"
        )
    return f"feedback: {destination.lines} connections keep up; more are opened when they do not"


def _place(scheduler: Scheduler, destination: Destination) -> str:
    if destination.key not in scheduler.hungry:
        return ""
    return f"; in turn after {list(scheduler.hungry).index(destination.key)} others"


def moving(scheduler: Scheduler, now: float) -> int:
    """Count what is ready for destinations that get through it soon: more need not be imported yet.

    A host that is not known to be up does not count: nobody can tell how long it takes.
    """
    if scheduler.stopped:
        return 0
    return sum(
        len(one.ready)
        for one in scheduler.lined.values()
        if one.lines and not one.window.slow and not one.blocked_until(now)
    )


def halt(scheduler: Scheduler, why: str, now: float | None = None, chance: Chance = random.random) -> None:
    """Attempt nothing more; '' to go on, many destinations one after the other."""
    before, scheduler.stopped = scheduler.stopped, why
    if before and not why:
        active = [one for one in scheduler.destinations.values() if one.active]
        _let_go(scheduler, active, clock.steady() if now is None else now, chance)


def suspend_hosts(scheduler: Scheduler, names: Iterable[str]) -> None:
    """Attempt nothing more for some destination names."""
    for name in names:
        scheduler.suspended.add(name)
        for one in scheduler.by_name.get(name, ()):
            one.paused = True


def resume_hosts(scheduler: Scheduler, names: Iterable[str], now: float, chance: Chance = random.random) -> None:
    """Go on with some destination names."""
    gone: list[Destination] = []
    for name in names:
        scheduler.suspended.discard(name)
        gone += scheduler.by_name.get(name, ())
    for one in gone:
        one.paused = False
    _let_go(scheduler, gone, now, chance)


def _let_go(scheduler: Scheduler, destinations: list[Destination], now: float, chance: Chance) -> None:
    """Look at destinations again, a few at once, many spread over a minute at most."""
    for number, one in enumerate(destinations):
        wait_s = 0.0 if number < 20 else spread_s(len(destinations) // 20, chance)
        if wait_s and one.state is not HostState.UP:
            one.pause(now + wait_s, "its turn after the suspension comes within a minute")
            if one.stored:
                one.earliest = max(one.earliest, now + wait_s)
            look(scheduler, one, now)
        else:
            scheduler.stir(one)


def reset_intervals(scheduler: Scheduler) -> None:
    """Begin all intervals of recipient limits anew."""
    scheduler.intervals.reset()
    for one in scheduler.destinations.values():
        if one.full_until or one.full:
            one.full_until = 0.0
            one.full = {}
            scheduler.stir(one)


def hurry(destination: Destination) -> None:
    """Have a destination tried before its time; if its host is still down, the wait is as long as it was."""
    destination.ordered = destination.state is HostState.DOWN
    destination.down_until = destination.open_after = 0.0


def deliver_now(scheduler: Scheduler, parcels: Iterable[Parcel], destinations: Iterable[Destination]) -> None:
    """Try parcels in memory at once, as far as they still wait, and what destinations have in the index by and by."""
    for parcel in parcels:
        if parcel.state is State.WAITING:
            scheduler.ready(parcel, Reason.DELIVER_NOW)
    for destination in destinations:
        hurry(destination)
        if destination.stored:
            scheduler.wake(destination, False)
        scheduler.stir(destination)
