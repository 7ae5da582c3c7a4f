"""What the dispatcher tells about connections, and what follows from it for a destination.

Called by `mail/queue/dispatch.py`; changes the scheduler's destinations. Logs nothing, does no I/O.
"""

import random
from typing import Any

from mail.bounce.profile import Chance
from mail.queue.destination import Destination, HostState
from mail.queue.message import Parcel
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason

REFUSED_PAUSE_S = 5.0
"""Wait before asking for another connection, where a host with open connections refused one."""
BUSY_PAUSE_S = 1.0
"""The same, where none of its addresses may have another one now."""
AT_ONCE = 20
"""Parcels that go at once when their host answers again; more of them are spread …"""
SPREAD_PER_S = 50
"""… so that about this many come back in a second …"""
MOST_SPREAD_S = 60.0
"""… but none later than this."""


def spread_s(count: int, chance: Chance) -> float:
    """Say how long one of `count` things that could all begin now waits."""
    return 0.0 if count <= AT_ONCE else min(MOST_SPREAD_S, count / SPREAD_PER_S) * chance()


class Connections:
    """The book of open connections."""

    def __init__(self, scheduler: Scheduler, chance: Chance = random.random) -> None:
        self._scheduler = scheduler
        self._chance = chance

    def opened(self, destination: Destination, now: float = 0.0, *, proved: bool = True) -> None:
        """Note an open connection, busy with the parcel that it was opened for.

        One that proves nothing (`proved`), because others could not have it, leaves a host that is down as it is.
        """
        in_use = destination.lines + destination.opening
        self._opening_ended(destination)
        self._scheduler.served += not destination.lines
        destination.busy += 1
        if proved:
            destination.window.succeeded(in_use, destination.most)
            if destination.up():
                self._came_up(destination, now)
        self._scheduler.stir(destination)

    def _came_up(self, destination: Destination, now: float) -> None:
        waiting = list(destination.hurt)
        for number, parcel in enumerate(waiting):
            if number < AT_ONCE:
                self._scheduler.ready(parcel, Reason.HOST_UP)
            else:
                self._scheduler.wheel.put_early(parcel, now + spread_s(len(waiting), self._chance))
        if destination.stored:
            self._scheduler.wake(destination, True)

    def _opening_ended(self, destination: Destination) -> None:
        destination.opening -= 1
        if destination.retrying:
            destination.retrying -= 1
            self._scheduler.retrying -= 1

    def open_failed(self, destination: Destination, now: float, *, by_policy: bool = False) -> bool:
        """Note that no connection came about; true if the parcel bears it, false to give the parcel back.

        `by_policy`: a host answers, and does not meet the TLS policy.
        """
        in_use = destination.lines + destination.opening
        others = destination.lines > 0
        self._opening_ended(destination)
        self._scheduler.connections -= 1
        down = destination.window.failed(in_use, now, others=others)
        destination.by_policy = by_policy
        if others:
            pause = REFUSED_PAUSE_S * (1 + self._chance() / 5)
            destination.pause(now + pause, f"the peer refuses more than {destination.lines} connections")
        elif destination.state is not HostState.DOWN:
            if down or destination.state is HostState.UNKNOWN:
                destination.down(now, self._chance())
        elif destination.down_until <= now:
            destination.down(now, self._chance())
        self._scheduler.stir(destination)
        return not others

    def no_address(self, destination: Destination, now: float, why: str) -> None:
        """Note that limits for each address leave none free: nobody is to blame, and a little later there may be."""
        destination.pause(now + BUSY_PAUSE_S * (0.5 + self._chance()), why)
        self.abandoned(destination)

    def charge(self, destination: Destination, parcel: Parcel, now: float, address: str) -> bool:
        """Count a parcel against the interval of the address that answered; false if that is used up.

        A host with several addresses may answer with another one next time: only when one comes a second time
        does the destination wait, until the first interval ends.
        """
        limits = destination.limits
        if not (limits.recipient_limit and limits.per_address):
            return True
        grant = self._scheduler.intervals.grant(destination, now, address)
        if grant.room >= min(len(parcel.recipients), limits.recipient_limit):
            self._scheduler.intervals.use(destination, len(parcel.recipients), now, address)
            return True
        if address in destination.full:
            destination.full_until = min(destination.full.values())
        destination.full[address] = max(grant.until, now + 1)
        return False

    def refund(self, destination: Destination, recipients: int, address: str = "") -> None:
        """Give back what was counted for recipients of whom the peer has heard nothing; there is room for others."""
        limits = destination.limits
        if not (recipients and limits.recipient_limit and (address or not limits.per_address)):
            return
        self._scheduler.intervals.refund(destination, recipients, address)
        destination.full.pop(address, None)
        destination.full_until = 0.0
        self._scheduler.stir(destination)

    def idle(self, destination: Destination, slot: Any) -> None:
        """Note that a connection has nothing to do."""
        destination.busy -= 1
        destination.idle.append(slot)

    def busy_again(self, destination: Destination, slot: Any) -> None:
        """Note that an idle connection is taken out of the idle ones, to be closed."""
        destination.idle.remove(slot)
        destination.busy += 1

    def abandoned(self, destination: Destination) -> None:
        """Note that an opening ended in a way that says nothing about the host."""
        self._opening_ended(destination)
        self._scheduler.connections -= 1
        self._scheduler.stir(destination)

    def closed(self, destination: Destination) -> None:
        """Note the end of a busy connection; others of the same domain may have its place first."""
        self._scheduler.connections -= 1
        destination.busy -= 1
        for one in destination.siblings:
            if one.ready:
                self._scheduler.stir(one)
        if not destination.lines:
            self._scheduler.served -= 1
            destination.window.rest()
        self._scheduler.stir(destination)
