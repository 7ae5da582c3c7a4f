"""Parcels that wait for a time, in buckets of a second: putting, taking out and finding what is due are cheap.

Used by the scheduler only. A parcel that leaves memory leaves the wheel with it; nothing stale stays behind.
"""

import heapq
import math
from collections.abc import Callable, Iterator

from mail.queue.message import Parcel


class Wheel:
    """A set of parcels ordered by `next_attempt_at`, a parcel being due up to a second after its time."""

    def __init__(self) -> None:
        self._buckets: dict[int, dict[int, Parcel]] = {}
        self._seconds: list[int] = []

    def put(self, parcel: Parcel) -> None:
        """Add a parcel by its `next_attempt_at`, which must not change while it is here."""
        second = math.ceil(parcel.next_attempt_at)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = {}
            heapq.heappush(self._seconds, second)
        bucket[id(parcel)] = parcel

    def discard(self, parcel: Parcel) -> None:
        """Take a parcel out, if it is here."""
        if parcel.next_attempt_at != math.inf:
            self._buckets.get(math.ceil(parcel.next_attempt_at), {}).pop(id(parcel), None)

    def due(self, now: float) -> Iterator[Parcel]:
        """Take out and give every parcel whose time has come."""
        while self._seconds and self._seconds[0] <= now:
            yield from self._buckets.pop(heapq.heappop(self._seconds)).values()

    def select(self, chosen: Callable[[Parcel], bool]) -> list[Parcel]:
        """Take out and give the parcels of a kind."""
        found = [one for bucket in self._buckets.values() for one in bucket.values() if chosen(one)]
        for parcel in found:
            self.discard(parcel)
        return found
