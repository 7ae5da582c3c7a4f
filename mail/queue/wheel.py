"""The one timer of the queue: what is due later, in buckets of a quarter of a second.

Holds waiting parcels and the alarms of destinations (host down until, interval full until, next review, mail in the
index due). A thing has at most one entry, so there are never more entries than things: to put it again moves it. What
leaves memory leaves the wheel with it; nothing stale stays behind. Used by the scheduler only; knows no clock.
"""

import heapq
import math
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

BUCKETS_PER_S = 4
ABSENT = -1
"""`slot` of a thing that is in no bucket."""


class Timed(Protocol):
    """What a wheel holds: it remembers its bucket."""

    slot: int

    def __hash__(self) -> int: ...


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Things by the time at which they are due; a thing comes up to a quarter of a second after its time."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[T, None]] = {}
        self._order: list[int] = []
        """Heap of bucket numbers; those of buckets that became empty early are in it until there are too many."""

    def put(self, thing: T, at: float) -> None:
        """Have a thing come at a time, instead of any other time that was said before; never if infinite."""
        slot = ABSENT if at == math.inf else math.ceil(at * BUCKETS_PER_S)
        if thing.slot == slot:
            return
        self.discard(thing)
        if slot == ABSENT:
            return
        bucket = self._buckets.get(slot)
        if bucket is None:
            bucket = self._buckets[slot] = {}
            heapq.heappush(self._order, slot)
        bucket[thing] = None
        thing.slot = slot

    def put_early(self, thing: T, at: float) -> None:
        """Have a thing come at a time, unless it comes earlier already."""
        if thing.slot == ABSENT or math.ceil(at * BUCKETS_PER_S if at < math.inf else thing.slot) < thing.slot:
            self.put(thing, at)

    def discard(self, thing: T) -> None:
        """Take a thing out, if it is here."""
        if thing.slot == ABSENT:
            return
        bucket = self._buckets[thing.slot]
        del bucket[thing]
        if not bucket:
            del self._buckets[thing.slot]
            if len(self._order) > 2 * len(self._buckets) + 64:
                self._order = sorted(self._buckets)
        thing.slot = ABSENT

    def due(self, now: float, most: float = math.inf) -> Iterator[T]:
        """Take out and give up to `most` things whose time has come, by buckets, the earliest first."""
        last = math.floor(now * BUCKETS_PER_S)
        while most > 0 and self._order and self._order[0] <= last:
            bucket = self._buckets.get(self._order[0])
            if not bucket:
                self._buckets.pop(heapq.heappop(self._order), None)
                continue
            most -= 1
            thing, _ = bucket.popitem()
            thing.slot = ABSENT
            yield thing

    def select(self, chosen: Callable[[T], bool]) -> list[T]:
        """Take out and give the things of a kind; looks at all of them."""
        found = [one for bucket in self._buckets.values() for one in bucket if chosen(one)]
        for thing in found:
            self.discard(thing)
        return found

    def __len__(self) -> int:
        """Give how many things wait."""
        return sum(map(len, self._buckets.values()))
