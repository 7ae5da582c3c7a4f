"""Which destinations have mail in the index that is due: the way back from the disk into memory.

Used by the scheduler, which notes what leaves memory, and by the loader, which asks what to bring back. When a
destination's turn by the clock comes, the scheduler's timer says so; here it only stands in line for the loader, hosts
that were down when they were last asked in a line of their own, so that those never hold up the others. What the
index then gives corrects `earliest`, which is only a hint.
"""

from collections import deque
from collections.abc import Callable

from mail.queue.destination import Destination, HostState
from mail.queue.message import NEVER
from mail.queue.wheel import Wheel

PROBE = 1
"""Messages brought back for a host that is not known to be up; the others follow when it answers."""
AT_ONCE = 64
"""Destinations given to the loader at a time …"""
MOST_SEEN = 1000
"""… after a look at no more than so many."""
SUSPECTS_PART = 4
"""One of so many of them is a host that was down, where there are others."""


class DueIndex:
    """The destinations to load for, in turn."""

    def __init__(self, timer: "Wheel[Destination]", ready_limit: int) -> None:
        self.wanted: Callable[[], None] = lambda: None
        """Called when there may be something to load."""
        self._timer = timer
        self._ready_limit = ready_limit
        self._fresh: deque[Destination] = deque()
        self._suspect: deque[Destination] = deque()

    def note(self, destination: Destination, at: float) -> None:
        """Note that the index holds something for a destination that is due at a time, or never."""
        if at < NEVER:
            destination.earliest = min(destination.earliest, at)
            self._timer.put_early(destination, at)

    def look(self, destination: Destination, now: float) -> None:
        """Have a destination loaded for, if mail for it in the index is due and may be attempted."""
        if destination.asked or destination.earliest > now or not destination.stored:
            return
        if destination.blocked_until(now) or not self._has_room(destination):
            return
        destination.asked = True
        suspect = destination.state is HostState.DOWN
        (self._suspect if suspect else self._fresh).append(destination)
        self.wanted()

    def _has_room(self, destination: Destination) -> bool:
        ready = len(destination.ready)
        if destination.state is HostState.UP:
            return ready <= self._ready_limit // 2
        return not ready and not destination.opening

    def take(self, now: float, *, suspects: bool = True) -> list[tuple[Destination, int]]:
        """Give destinations to load for, each with how many messages; without `suspects` no hosts that were down."""
        chosen: list[tuple[Destination, int]] = []
        for _ in range(MOST_SEEN):
            line = self._next(len(chosen), suspects)
            if not line or len(chosen) >= AT_ONCE:
                break
            destination = line.popleft()
            destination.asked = False
            if destination.blocked_until(now):
                self._timer.put_early(destination, destination.blocked_until(now))
            elif destination.stored and destination.earliest <= now:
                up = destination.state is HostState.UP
                chosen.append((destination, self._ready_limit - len(destination.ready) if up else PROBE))
        return [(destination, most) for destination, most in chosen if most > 0]

    def _next(self, turn: int, suspects: bool) -> deque[Destination]:
        """Choose whose line is served next."""
        if not suspects or not self._suspect:
            return self._fresh
        return self._suspect if not self._fresh or turn % SUSPECTS_PART == SUSPECTS_PART - 1 else self._fresh

    def __len__(self) -> int:
        """Give how many destinations stand in line."""
        return len(self._fresh) + len(self._suspect)
