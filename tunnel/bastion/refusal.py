"""What one connection was refused: an audit line for each thing once, a count for all of it.

One object per connection, made by both sides of the bastion. Who asks ten thousand times for the same gets one line,
and one more at the end that says how often; who asks for too many things is cut off by the owner of the connection.
"""

from collections import Counter

from core.metrics import Counters
from tunnel.audit import AuditLog

LINES = 20
"""Different refusals of one connection that get a line of their own."""
MOST = 200
"""Refusals after which a connection is not worth keeping."""


class Refusals:
    """The refusals of one connection."""

    def __init__(self, audit: AuditLog, counters: Counters, side: str) -> None:
        self.user = ""
        self.key_id = ""
        self.source = ""
        self._audit = audit
        self._counters = counters
        self._side = side
        self._seen: Counter[tuple[str, str]] = Counter()

    def note(self, rule: str, why: str) -> bool:
        """Take note of a refusal; false once there have been too many of them on this connection."""
        self._counters.add(f"refused_{rule.replace('-', '_')}")
        what = (rule, why[:200]) if (rule, why[:200]) in self._seen or len(self._seen) < LINES else ("more", "")
        self._seen[what] += 1
        if self._seen[what] == 1 and what[0] != "more":
            self._audit.note("refused", rule=rule, why=what[1], **self._who())
        return self._seen.total() < MOST

    def close(self) -> None:
        """Say how often what was refused more than once."""
        for (rule, why), count in self._seen.items():
            if count > 1 or rule == "more":
                self._audit.note("refused-often", rule=rule, why=why, times=count, **self._who())
        self._seen.clear()

    def _who(self) -> dict[str, str]:
        who = {"side": self._side, "user": self.user[:64], "source": self.source}
        return {**who, "key_id": self.key_id} if self.key_id else who
