"""Which destinations' counts have changed, so that the checkpoint writes these and no others.

The settlement asks for counts to add to (`counts`), the checkpoint takes a bounded number of changed ones every few
seconds (`gather`), the queue restores them at its start. A crash loses a few seconds of counting, never mail. What
`forget_idle` lets go of loses its counts too. On the loop thread; does no I/O and logs nothing.
"""

from collections.abc import Iterable

from core.clock import Clock, monotonic
from mail.queue.destination import Counts, Destination
from mail.queue.memory import MOST_IDLE
from mail.queue.schedule import Scheduler
from mail.queue.tally.store import Tallied, TallyRow

EVERY_S = 2.0
"""Shortest time between two writings."""
MOST = 2000
"""Destinations of one writing; the others are in the next ones."""


class Tally:
    """The counts of all destinations."""

    def __init__(self, now: Clock, every_s: float = EVERY_S) -> None:
        self._now = now
        self._every_s = every_s
        self._changed: dict[tuple[str, str], Destination] = {}
        self._gone: list[tuple[str, str]] = []
        self._wipe = False
        self._next_s = 0.0
        """By the monotonic clock: it never jumps."""

    def counts(self, destination: Destination) -> Counts:
        """Give the counts of a destination, to be added to at once."""
        self._changed[destination.key] = destination
        return destination.counts

    def restore(self, rows: Iterable[TallyRow], scheduler: Scheduler) -> None:
        """Take up stored counts: of destinations that have mail, and of as many others as memory keeps."""
        idle = 0
        for row in rows:
            key = (row.destination, row.target)
            if key not in scheduler.destinations:
                idle += 1
                if idle > MOST_IDLE:
                    self._gone.append(key)
                    continue
            destination = scheduler.destination(key)
            destination.last_activity_at = row.active_at
            hard = (part.partition("=") for part in row.hard_bounced.split())
            kinds = {kind: int(n) for kind, _, n in hard}
            destination.counts = Counts(row.soft_bounced, row.delivered, row.deleted, kinds)

    def reset(self, destinations: Iterable[Destination]) -> None:
        """Count from zero again, everywhere."""
        for destination in destinations:
            destination.counts = Counts()
        self._changed.clear()
        self._gone.clear()
        self._wipe = True
        self._next_s = 0.0

    def forget(self, key: tuple[str, str]) -> None:
        """Note that a destination was let go of."""
        self._changed.pop(key, None)
        self._gone.append(key)

    @property
    def due(self) -> bool:
        """Whether there is something to write, and it is time."""
        return bool(self._changed or self._gone or self._wipe) and monotonic() >= self._next_s

    def gather(self, most: int | None = MOST) -> Tallied | None:
        """Give what is to be written now, `most` destinations of it; from here on it counts as written."""
        if most is not None and not self.due:
            return None
        now = self._now()
        self._next_s = monotonic() + self._every_s
        keys = list(self._changed)[:most]
        rows = [_row(self._changed.pop(key), now) for key in keys]
        tallied = Tallied(self._wipe, self._gone, rows)
        self._wipe, self._gone = False, []
        return tallied


def _row(destination: Destination, now: float) -> TallyRow:
    counts = destination.counts
    hard = " ".join(f"{kind}={n}" for kind, n in counts.hard.items())
    return TallyRow(
        *destination.key,
        destination.last_activity_at or now,
        counts.soft_bounced_evts,
        counts.delivered_recips,
        counts.deleted_recips,
        hard,
    )
