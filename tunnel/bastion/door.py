"""What a front's door tells the operator: refusals counted by rule, and told in words without filling a log.

The first refusal of a rule within a minute is a line of the diagnostics and of the audit log with its source; the
others of that minute are a number in the line of the next. Called by the listeners of `fronts.py`.
"""

from core import clock
from core.diagnostic import INFO, say
from core.maillog import clean
from core.metrics import Counters
from core.ssh import Refusal
from tunnel.audit import AuditLog

EVERY_S = 60.0


class Door:
    """One front's."""

    def __init__(
        self, front: str, audit: AuditLog, counters: Counters, monotonic: clock.Clock = clock.monotonic
    ) -> None:
        self._front = front
        self._audit = audit
        self._counters = counters
        self._now = monotonic
        self._said_at: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def refused(self, refusal: Refusal) -> None:
        """Take note of a connection that did not get in."""
        rule = refusal.rule
        self._counters.add(f"door_refused_{rule.replace('-', '_')}")
        now = self._now()
        if now - self._said_at.get(rule, -EVERY_S) < EVERY_S:
            self._unsaid[rule] = self._unsaid.get(rule, 0) + 1
            return
        self._said_at[rule] = now
        more = self._unsaid.pop(rule, 0)
        # The reason may be what a stranger said with a disconnect.
        why = clean(refusal.reason, 200)
        say(INFO, f"bastion: {self._front}: {refusal.source} at {refusal.local}: {why}")
        self._audit.note(
            "refused-at-door",
            front=self._front,
            rule=rule,
            source=refusal.source,
            local=refusal.local,
            why=why,
            more_before=more,
        )

    def took(self, seconds: float) -> None:
        """Take note of how long a login took from its first octet."""
        self._counters.add("handshakes")
        self._counters.add("handshake_milliseconds", round(seconds * 1000))
