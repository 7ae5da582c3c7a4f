"""What happens to quarantined messages by themselves: default action at expiry, room on overflow, tombstones.

A service of `release-host`. Each step is a bounded transaction. On overflow the default action is applied early to
what expires soonest, in the quarantines that make room. Logs every message that leaves, and an alert when no room
can be made.
"""

from collections.abc import Callable, Sequence

from core.alert.kind import CRITICAL, INFO, SEVERITIES, WARNING
from core.clock import Clock, now
from core.condition import Condition, Figure
from core.errors import GatepostError
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from cpq.handover import HandOver
from cpq.held import Due, Order, QuarantineStore
from cpq.policy import DAY_S, Policy
from cpq.release import log_departures
from cpq.state import Cause

BATCH = 200
INTERVAL_S = 5.0
_STEPS = ((95, CRITICAL), (85, WARNING), (75, INFO))
KEEP_TOMBSTONES_S = 30 * DAY_S
"""A message that has left can be shown, and released again without effect, for this long."""


class Sweep:
    """The service."""

    name = "quarantine sweep"

    def __init__(
        self,
        store: QuarantineStore,
        policy: Policy,
        handover: HandOver,
        log: MailLog,
        *,
        quota_octets: int = 0,
        alert: Callable[[str, str, str], None] = lambda _severity, _kind, _text: None,
        clock: Clock = now,
    ) -> None:
        """`quota_octets` 0 = no limit; `alert` tells people: severity, id, text."""
        self._alert = alert
        self._near = ""
        self._store = store
        self._policy = policy
        self._handover = handover
        self._log = log
        self._quota = quota_octets
        self._clock = clock
        self._full = False
        self._left = {Cause.EXPIRED: 0, Cause.OVERFLOW: 0}

    def condition(self) -> Condition:
        """Say what left by itself, and whether there is no room to be made."""
        figures = (
            Figure("quarantine_expired_total", self._left[Cause.EXPIRED]),
            Figure("quarantine_overflowed_total", self._left[Cause.OVERFLOW]),
            Figure("quarantine_quota_bytes", self._quota),
            Figure("quarantine_full", self._full),
        )
        return Condition(figures=figures)

    async def run(self, scope: Scope) -> None:
        """Sweep every few seconds until stopping."""
        scope.ready()
        while await scope.pause(INTERVAL_S):
            with scope.activity("sweeping the quarantine"):
                await self.turn()

    async def turn(self) -> None:
        """Sweep once; what fails is tried again next time."""
        try:
            await self._expire()
            await self._make_room()
            await self._store.decisions.purge(self._clock() - KEEP_TOMBSTONES_S)
        except GatepostError as error:
            self._log.critical(f"centralized policy quarantine: sweep failed: {clean(error.text)}")

    async def _expire(self) -> None:
        while due := await self._store.decisions.due(self._clock(), BATCH):
            if not await self._apply(due, Cause.EXPIRED):
                return

    async def _make_room(self) -> None:
        if not self._quota:
            return
        names = [name for name in self._policy.names if self._policy.named(name).makes_room]
        over = (await self._store.catalogue.held())[1] - self._quota
        while over > 0:
            chosen = _enough(await self._store.decisions.soonest(names, BATCH), over)
            if not chosen or not await self._apply(chosen, Cause.OVERFLOW):
                break
            over = (await self._store.catalogue.held())[1] - self._quota
        self._alarm(over)
        self._tell_near(over + self._quota)

    def _tell_near(self, octets: int) -> None:
        """Tell people once that the quarantine is at 75, 85, 95 % of its quota; again after it has been below."""
        percent = 100 * octets / self._quota
        severity = next((grade for least, grade in _STEPS if percent >= least), "")
        if severity and (not self._near or SEVERITIES.index(severity) > SEVERITIES.index(self._near)):
            text = f"the centralized policy quarantine is at {percent:.0f} % of its quota ({self._quota >> 20} MiB)."
            text += "\nWhat to do: quarantine release or delete, a shorter retention, or a larger [cpq] quota_mib."
            self._alert(severity, "QUARANTINE.SPACE", text)
        self._near = severity

    async def _apply(self, due: Sequence[Due], cause: Cause) -> int:
        orders = [
            Order(one.id, self._policy.named(one.quarantine).default_action, cause, one.quarantine) for one in due
        ]
        departures = await self._store.decisions.apply(orders, self._clock())
        log_departures(self._log, departures)
        self._left[cause] += len(departures)
        self._handover.wake()
        return len(departures)

    def _alarm(self, over: int) -> None:
        """Say once that the quarantine is over its quota and nothing more may go, and once that it is not any more."""
        if over > 0 and not self._full:
            self._log.critical(
                f"centralized policy quarantine is {over} octets over its quota and nothing may leave early:"
                " release or delete messages, raise quota_mib, or let a quarantine make room"
            )
        elif over <= 0 and self._full:
            self._log.info("centralized policy quarantine is within its quota again")
        self._full = over > 0


def _enough(soonest: Sequence[Due], over: int) -> list[Due]:
    """Take holds in the order in which they expire until their messages make up `over` octets."""
    chosen: list[Due] = []
    seen: set[str] = set()
    freed = 0
    for one in soonest:
        if freed >= over:
            break
        chosen.append(one)
        if one.id not in seen:
            seen.add(one.id)
            freed += one.size
    return chosen
