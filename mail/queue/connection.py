"""What the dispatcher tells about connections, and what follows from it for a destination.

Called by `mail/delivery/dispatch.py`; changes the scheduler's destinations. Logs nothing, does no I/O.
"""

import random
from typing import Any

from mail.queue.destination import WINDOW, Destination, HostState
from mail.queue.retry import Chance
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason

REFUSED_PAUSE_S = 5.0
"""Wait before asking for another connection, where a host with open connections refused one."""


class Connections:
    """The book of open connections."""

    def __init__(self, scheduler: Scheduler, chance: Chance = random.random) -> None:
        self._scheduler = scheduler
        self._chance = chance

    def opened(self, destination: Destination) -> None:
        """Note an open connection, busy with the parcel that it was opened for."""
        destination.opening -= 1
        destination.busy += 1
        if destination.up():
            for parcel in self._scheduler.waiting.select(
                lambda one: one.host_level and one.destination == destination.key
            ):
                self._scheduler.ready(parcel, Reason.HOST_UP)
            if destination.stored:
                self._scheduler.came_up(destination)
        self._scheduler.stir(destination)

    def open_failed(self, destination: Destination, now: float) -> bool:
        """Note that no connection came about; true if the parcel bears it, false to give the parcel back."""
        destination.opening -= 1
        self._scheduler.connections -= 1
        if destination.lines:
            destination.open_after = now + REFUSED_PAUSE_S
        elif destination.state is not HostState.DOWN or destination.down_until <= now:
            destination.down(now, self._chance())
        self._scheduler.stir(destination)
        return not destination.lines

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
        destination.opening -= 1
        self._scheduler.connections -= 1
        self._scheduler.stir(destination)

    def closed(self, destination: Destination) -> None:
        """Note the end of a busy connection."""
        self._scheduler.connections -= 1
        destination.busy -= 1
        if not destination.lines:
            destination.window = WINDOW
        self._scheduler.stir(destination)
