"""Group commit without timers: whatever is waiting is written and synced together, by one thread.

*Theory of operation.* `submit` only appends to a list in the loop thread. Once per loop iteration, and only while no
commit is in flight, the list is swapped for an empty one and handed over whole. The writer thread writes it, syncs
once, publishes the mark and comes back with one `call_soon_threadsafe`. What gathered meanwhile is handed over
first, then everybody in the finished batch is told. So a batch is as large as the disk is slow, and a lone message
waits for nobody.

After a failure the thread tries to open a new segment every `retry_s`, by itself.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from core import clock
from core.journal.error import JournalUnavailable
from core.journal.log import SegmentLog
from core.journal.record import Item
from core.killpoint import killpoint

RECENT_S: Final = 5.0
"""A slow write says nothing of the disk of later on: whoever keeps mail away for its sake must try again."""
Fates = list[tuple[list[Item], JournalUnavailable | None]]


class Writer:
    """Owns the writer thread. All methods belong to the loop thread."""

    def __init__(self, log: SegmentLog, retry_s: float) -> None:
        self._log = log
        self._retry_s = retry_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="journal writer", daemon=True)
        self._queue: SimpleQueue[list[Item] | None] = SimpleQueue()
        self._waiting: list[Item] = []
        self._busy = False
        self._scheduled = False
        self._began = self._ended = clock.monotonic()
        self.commits = 0
        """Batches that were written."""
        self.commits_s = 0.0
        """How long they took, all together."""
        self.on_idle: Callable[[], object] = bool
        """Called when everybody has been told; does nothing until it is set."""

    @property
    def failure(self) -> OSError | None:
        """Why the journal is unhealthy; None while it is well."""
        return self._log.failure

    @property
    def busy(self) -> bool:
        """Whether somebody has not been told yet."""
        return self._busy or bool(self._waiting)

    @property
    def latency_s(self) -> float:
        """How long the batch in flight has taken so far; while there is none, how long a recent one took."""
        now = clock.monotonic()
        if self._busy:
            return now - self._began
        return self._ended - self._began if now - self._ended < RECENT_S else 0.0

    @property
    def in_hand_s(self) -> float:
        """How long the batch in flight has taken so far, 0 while there is none."""
        return clock.monotonic() - self._began if self._busy else 0.0

    def submit(self, item: Item) -> None:
        """Have the item written with the next batch."""
        self._waiting.append(item)
        if not self._scheduled and not self._busy:
            self._scheduled = True
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._hand_over)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Finish the batch in flight and end the thread; blocks for as long as that takes."""
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _hand_over(self) -> None:
        self._scheduled = False
        if not self._busy and self._waiting:
            batch, self._waiting = self._waiting, []
            self._busy = True
            self._began = clock.monotonic()
            self._queue.put(batch)

    def _run(self) -> None:
        while True:
            try:
                batch = self._queue.get(timeout=self._retry_s if self._log.failure else None)
            except Empty:
                self._reopen()
                continue
            if batch is None:
                self._log.close()
                return
            fates: Fates = []
            self._log.commit(batch, lambda items, failure, fates=fates: fates.append((items, failure)))  # type: ignore[misc]
            self._report(fates)

    def _reopen(self) -> None:
        """Try a new segment; success makes the journal healthy."""
        try:
            self._log.roll()
        except Exception as error:  # the thread must live, to try again
            self._log.failure = error if isinstance(error, OSError) else OSError(repr(error))

    def _report(self, fates: Fates) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._committed, fates)
        except RuntimeError:
            return  # the loop is closed: the daemon is ending and nobody waits for an answer

    def _committed(self, fates: Fates) -> None:
        self._busy = False
        self._ended = clock.monotonic()
        self.commits += 1
        self.commits_s += self._ended - self._began
        self._hand_over()
        killpoint("journal.releasing")
        for items, failure in fates:
            for item in items:
                self._release(item, failure)
        if not self.busy:
            self.on_idle()

    def _release(self, item: Item, failure: JournalUnavailable | None) -> None:
        """Tell one waiter; what it does wrong must not keep the others waiting."""
        if item.content is not None:
            if failure is None:
                item.content.release()
            else:
                item.content.discard()
        try:
            item.done(failure)
        except Exception as error:
            assert self._loop is not None
            self._loop.call_exception_handler(
                {"message": f"journal: telling the outcome of {item.mid} failed", "exception": error}
            )
