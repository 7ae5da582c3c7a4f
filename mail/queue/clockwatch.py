"""What follows when somebody sets the machine's clock: words in the log, and nothing waits longer than anything does.

Waiting goes by a clock that nobody sets (`core.clock.steady`); the index has the times of the machine's. Called by the
queue, at its start and now and then. Raises `core.sqlite.DatabaseError`.
"""

from collections.abc import Iterable

from core import clock
from core.maillog import Log
from core.sqlite import Database, DatabaseThread
from mail.bounce.profile import BounceProfile
from mail.queue import store

DIFFER_S = 60.0
"""What is less is not worth a word."""


class ClockWatch:
    """Notices that the clock was set."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._set_by_s = 0.0

    def look(self) -> None:
        """Tell the log if it was set since the last look."""
        by = clock.steady.set_by_s
        if abs(by - self._set_by_s) >= DIFFER_S:
            text = (
                f"The clock was set {'forward' if by > self._set_by_s else 'back'} by {abs(by - self._set_by_s):.0f} s"
            )
            self._log.warning(f"{text}; waiting goes on by the time that passes")
            self._set_by_s = by


def pull_in(database: DatabaseThread, profiles: Iterable[BounceProfile], now: float, log: Log) -> None:
    """Make due what waits for longer than anything does: the clock was set back since then; blocking."""
    latest = now + 2 * max(profile.max_retry_s for profile in profiles) + DIFFER_S
    count = database.submit(_pull_in, latest, now).result()
    if count:
        log.warning(f"The clock was set back since the last start: {count} waiting recipients are due now")


def _pull_in(database: Database, latest: float, due_at: float) -> int:
    with database.transaction():
        return store.pull_in(database, latest, due_at)
