"""Which destinations have mail in the index that is due: the way back from the disk into memory.

Used by the scheduler, which notes what leaves memory, and by the loader, which asks what to bring back. An entry is
only a hint: the destination's `earliest` decides, and what the index then gives corrects it.
"""

import heapq
from collections.abc import Callable

from mail.queue.destination import Destination
from mail.queue.message import NEVER


class DueIndex:
    """A heap of (time, destination)."""

    def __init__(self) -> None:
        self.wanted: Callable[[], None] = lambda: None
        """Called when there may be something to load."""
        self._heap: list[tuple[float, int, Destination]] = []
        self._order = 0

    def note(self, destination: Destination, at: float) -> None:
        """Note that the index holds something for a destination that is due at a time, or never."""
        if at < NEVER:
            destination.earliest = min(destination.earliest, at)
            self._push(at, destination)

    def room(self, destination: Destination) -> None:
        """Note that a destination has room for what the index holds for it and is due already."""
        if not destination.asked:
            destination.asked = True
            self._push(0.0, destination)
            self.wanted()

    def _push(self, at: float, destination: Destination) -> None:
        self._order += 1
        heapq.heappush(self._heap, (at, self._order, destination))

    def tick(self, now: float) -> None:
        """Ask for a load if something is due."""
        if self._heap and self._heap[0][0] <= now:
            self.wanted()

    def take(self, now: float, ready_limit: int) -> list[tuple[Destination, int]]:
        """Give the destinations to load for, each with how many messages fit."""
        chosen: dict[tuple[str, str], tuple[Destination, int]] = {}
        later: list[tuple[float, Destination]] = []
        while self._heap and self._heap[0][0] <= now:
            destination = heapq.heappop(self._heap)[2]
            destination.asked = False
            room = ready_limit - len(destination.ready)
            if destination.key in chosen or not destination.stored:
                continue
            if destination.earliest > now:
                later.append((destination.earliest, destination))
            elif (until := destination.blocked_until(now)) > now:
                later.append((until, destination))
            elif room >= ready_limit // 2:
                chosen[destination.key] = (destination, room)
        for at, destination in later:
            if at < NEVER:
                self._push(at, destination)
        return list(chosen.values())
