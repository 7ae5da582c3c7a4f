"""What an owner does about its directory now and then, on a thread of its own: reclaim, watch space, keep a spare.

Failures are kept in `problem` for the status and tried again the next time: none of this is needed to accept a
message safely, only to go on accepting.
"""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from core.disk import share
from core.journal.error import JournalFull
from core.journal.log import LogParts
from core.journal.reclaim import reclaim


@dataclass(frozen=True)
class Reserve:
    """Free space that the journal leaves to others: a part of the file system, or octets where they are given."""

    fraction: float
    octets: int | None

    def needed(self, total: int) -> int:
        """Give the octets that must stay free."""
        return share(self.fraction, total) if self.octets is None else self.octets


class Keeper:
    """Owns the keeper thread."""

    def __init__(
        self,
        parts: LogParts,
        reserve: Reserve,
        interval_s: float,
        current: Callable[[], int],
        recycle_empty: Callable[[], None],
    ) -> None:
        """`current` gives the open generation, 0 if none is; `recycle_empty` is called once after one is open."""
        self.refusal: JournalFull | None = None
        """Set while the space reserve is reached."""
        self.room = sys.maxsize
        """Octets above the reserve at the last look."""
        self.problem: OSError | None = None
        """What went wrong the last time, None if nothing did."""
        self._parts = parts
        self._reserve = reserve
        self._interval_s = interval_s
        self._current = current
        self._recycle_empty: Callable[[], None] | None = recycle_empty
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal keeper", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; blocks until what it does is done."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def turn(self) -> None:
        """Do everything once."""
        parts = self._parts
        problem: OSError | None = None
        try:
            self._watch_space()
            if self._recycle_empty is not None and self._current():
                self._recycle_empty()
                self._recycle_empty = None
            reclaim(parts.disk, parts.directory, parts.ledger, parts.spares, self._current())
            if parts.ledger.octets(self._current()) > parts.segment_bytes // 2:
                parts.spares.prepare()
        except OSError as error:
            problem = error
        self.problem = problem

    def _watch_space(self) -> None:
        free, total = self._parts.disk.space(self._parts.directory)
        needed = self._reserve.needed(total)
        self.room = max(0, free - needed)
        self.refusal = (
            JournalFull(f"{self._parts.directory}: {free} octets free, {needed} are reserved")
            if free < needed
            else None
        )

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.turn()
