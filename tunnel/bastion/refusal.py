"""What one connection was refused: an audit line for each thing once, a count for all of it.

One object per connection, made by both sides of the bastion. Who asks ten thousand times for the same gets one line,
and one more at the end that says how often; who asks for too many things is cut off by the owner of the connection.
Strangers, who come from as many addresses as they like, get a ration of lines all together.
"""

from collections import Counter
from typing import Any

from core import clock
from core.metrics import Counters
from core.ssh import Bucket
from tunnel.audit import AuditLog

EVERY_S = 3600.0
"""What an appliance is refused each time that it dials is a line once in this time, with the number of those before."""
REMEMBERED = 2000
LINES = 20
"""Different refusals of one connection that get a line of their own."""
MOST = 200
"""Refusals after which a connection is not worth keeping."""
AT_ONCE, EACH_S = 200, 2.0
"""Lines about strangers: so many at once, then one in so many seconds, ten megabytes a day."""


class Seldom:
    """What comes again on connection after connection, by rule, user and source; shared by all of them."""

    def __init__(self, monotonic: clock.Clock = clock.monotonic) -> None:
        self._now = monotonic
        self._said: dict[tuple[str, str, str], tuple[float, int]] = {}
        """When each was last said, and how often it came since; the oldest first."""

    def unsaid(self, rule: str, user: str, source: str) -> int | None:
        """Give how many were not said before this one, which is to be said; None if this one is not either."""
        now, key = self._now(), (rule, user, source)
        said_at, count = self._said.get(key, (-EVERY_S, 0))
        if now - said_at < EVERY_S:
            self._said[key] = said_at, count + 1
            return None
        self._said.pop(key, None)
        self._said[key] = now, 0
        while len(self._said) > REMEMBERED:
            del self._said[next(iter(self._said))]
        return count


class Strangers:
    """What those who have not logged in are refused on one front; shared by all of its connections."""

    def __init__(self) -> None:
        self._lines = Bucket(AT_ONCE, EACH_S)
        self._unsaid = 0

    def unsaid(self) -> int | None:
        """Give how many lines were not written before this one, which is to be; None if this one is not either."""
        if not self._lines.take():
            self._unsaid += 1
            return None
        count, self._unsaid = self._unsaid, 0
        return count


class Refusals:
    """The refusals of one connection; those of the rules in `seldom_rules` are rationed over all connections."""

    seldom_rules = frozenset({"frozen"})

    def __init__(
        self,
        audit: AuditLog,
        counters: Counters,
        side: str,
        seldom: Seldom | None = None,
        strangers: Strangers | None = None,
    ) -> None:
        self.known = strangers is None
        """Whether it is not a stranger's connection: each of its lines is written."""
        self.user = ""
        self.key_id = ""
        self.source = ""
        self._audit = audit
        self._counters = counters
        self._side = side
        self._seldom = seldom
        self._strangers = strangers
        self._seen: Counter[tuple[str, str]] = Counter()

    def note(self, rule: str, why: str) -> bool:
        """Take note of a refusal; false once there have been too many of them on this connection."""
        self._counters.add(f"refused_{rule.replace('-', '_')}")
        what = (rule, why[:200]) if (rule, why[:200]) in self._seen or len(self._seen) < LINES else ("more", "")
        self._seen[what] += 1
        if self._seen[what] == 1 and what[0] != "more":
            self._say(rule, what[1])
        return self._seen.total() < MOST

    def close(self) -> None:
        """Say how often what was refused more than once."""
        for (rule, why), count in self._seen.items():
            if count > 1 or rule == "more":
                self._write("refused-often", rule=rule, why=why, times=count)
        self._seen.clear()

    def _say(self, rule: str, why: str) -> None:
        if self._seldom is None or rule not in self.seldom_rules:
            self._write("refused", rule=rule, why=why)
            return
        more = self._seldom.unsaid(rule, self.user, self.source)
        if more is not None:
            self._audit.note("refused", rule=rule, why=why, more_before=more, **self._who())

    def _write(self, event: str, **facts: Any) -> None:
        """Write a line, if one is due."""
        more = 0 if self.known or self._strangers is None else self._strangers.unsaid()
        if more is not None:
            before = {"more_before": more} if more else {}
            self._audit.note(event, **facts, **before, **self._who())

    def _who(self) -> dict[str, str]:
        who = {"side": self._side, "user": self.user[:64], "source": self.source}
        return {**who, "key_id": self.key_id} if self.key_id else who
