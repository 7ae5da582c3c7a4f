"""What became of sessions with other mail hosts, counted by domain, day and policy (RFC 8460 4).

A service: plans call `good` and `failed`, which only count in memory; once a minute, and at the end, the counts are
added to the database. Bounded: what is over goes uncounted until the next minute. Logs a database that fails.
"""

import time

from core.clock import Clock
from core.lifecycle import Scope
from core.maillog import Log
from core.sqlite import DatabaseError, DatabaseThread
from mail.delivery.tls import store
from mail.delivery.tls.store import Detail, Key

_WRITE_S = 60.0
_MOST = 20_000
KEEP_DAYS = 14


def day_of(moment: float) -> str:
    """Give the day of a moment, UTC."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _redirected(domain: str) -> bool:
    """Tell whether it is no domain but a host: an address, or where an operator sent mail. It asks for no report."""
    return domain.startswith("[")


class Tally:
    """Counts."""

    name = "TLS report counters"

    def __init__(self, database: DatabaseThread, *, log: Log, now: Clock) -> None:
        self._database = database
        self._log = log
        self._now = now
        self._good: dict[Key, tuple[str, int]] = {}
        self._failed: dict[tuple[Key, Detail], int] = {}
        self._excused: dict[str, None] = {}

    def excuse(self, domain: str) -> None:
        """Leave out a domain's sessions until one is good: it is sent a report, and reports must not cause reports."""
        while len(self._excused) >= _MOST:
            del self._excused[next(iter(self._excused))]
        self._excused[domain] = None

    def included(self, domain: str) -> None:
        """Count a domain's sessions again: what was sent to it without regard to its policy has arrived."""
        self._excused.pop(domain, None)

    def good(self, domain: str, kind: str, policy: str, number: int = 1) -> None:
        """Count a session that is as the policy wants it; with 0 only note the policy."""
        if _redirected(domain):
            return
        if number and domain in self._excused:
            del self._excused[domain]
            return
        key = Key(day_of(self._now()), domain, kind)
        if key in self._good or len(self._good) < _MOST:
            self._good[key] = (policy, self._good.get(key, ("", 0))[1] + number)

    def failed(self, domain: str, kind: str, policy: str, detail: Detail) -> None:
        """Count a session that failed, or would have if the policy were enforced."""
        if domain in self._excused or _redirected(domain):
            return
        self.good(domain, kind, policy, 0)
        key = (Key(day_of(self._now()), domain, kind), detail)
        if key in self._failed or len(self._failed) < _MOST:
            self._failed[key] = self._failed.get(key, 0) + 1

    async def run(self, scope: Scope) -> None:
        """Write down what was counted."""
        scope.ready()
        try:
            while await scope.pause(_WRITE_S):
                await self.write()
        finally:
            self._submit()

    async def write(self) -> None:
        """Write down what was counted so far."""
        good, failed = self._take()
        try:
            await self._database.change(store.count, good, failed)
        except DatabaseError as problem:
            self._log.warning(f"TLS reports: what was counted in the last minute is lost: {problem}")

    def _take(self) -> tuple[dict[Key, tuple[str, int]], dict[tuple[Key, Detail], int]]:
        taken = self._good, self._failed
        self._good, self._failed = {}, {}
        return taken

    def _submit(self) -> None:
        good, failed = self._take()
        if good:
            self._database.submit(store.count, good, failed)
