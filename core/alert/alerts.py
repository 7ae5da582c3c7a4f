"""The alerts of one daemon: anybody in it calls `Alerts.send`, which never blocks and never raises.

The service `run` delivers by the direct path. Each recipient has a lane of its own, so nobody waits for the host of
another. Who gets an alert is decided by class and severity ([alerts], [[alert_recipient]]), how often by `Limit`. What
was sent or left out is recorded for the whole machine; an alert that cannot be delivered in a few tries is a line in
the mail log as well.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec import structs

from core import clock
from core.alert.config import AlertRecipientSection, AlertsSection, takers
from core.alert.direct import DirectPath
from core.alert.kind import class_of
from core.alert.limit import Limit
from core.alert.record import Alert, AlertRecords, Delivery, Record
from core.diagnostic import incident
from core.dns import Resolver
from core.lifecycle import Scope
from core.maillog import Log, clean

WAITING_LIMIT: Final = 100
RETRIES_S: Final = (10.0, 60.0, 300.0)
"""Waits before the second, third and last attempt."""
_TEXT_LIMIT: Final = 4_000
_UNWRITTEN_LIMIT: Final = 1_000
_GATHER_S: Final = 1.0
"""Records are written at most this often …"""
_LEFT_OUT_S: Final = 60.0
"""… and those of what is left out at most this often: a storm becomes one record that says how many."""


@dataclass(frozen=True, slots=True)
class _Outgoing:
    id: str
    alert_class: str
    severity: str
    subject: str
    text: str


@dataclass(slots=True)
class _Lane:
    """What one recipient is still to get."""

    recipient: str
    waiting: deque[_Outgoing] = field(default_factory=deque)
    busy: bool = False


class Alerts:
    """The service of one daemon."""

    name = "alerts"

    def __init__(
        self,
        section: AlertsSection,
        recipients: Sequence[AlertRecipientSection] = (),
        *,
        hostname: str,
        resolver: Resolver,
        log: Log,
        daemon: str = "",
        records: AlertRecords | None = None,
        silent: bool = False,
        monotonic: clock.Clock = clock.monotonic,
        retries_s: tuple[float, ...] = RETRIES_S,
    ) -> None:
        """Without `records` nothing is remembered beyond the log; `silent` ones do nothing, another daemon does it."""
        self._silent = silent
        self._section = section
        self._rows = tuple(recipients)
        self._hostname = hostname
        self.resolver = resolver
        self._direct = DirectPath(section, hostname=hostname, resolver=resolver, log=log)
        self._log = log
        self._daemon = daemon
        self._records = records
        self._retries_s = retries_s
        self._limit = Limit(monotonic)
        self._lanes: dict[str, _Lane] = {}
        self._scope: Scope | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwritten: deque[Record] = deque()
        self._left_out: dict[tuple[str, str], Alert] = {}
        self._left_out_after = 0.0
        self._monotonic = monotonic
        self._news = asyncio.Event()
        self.suppressed = 0
        """Alerts that were not sent, of all kinds."""

    def adopt(self, section: AlertsSection, recipients: Sequence[AlertRecipientSection]) -> None:
        """Go by another configuration from the next alert on."""
        self._section = self._direct.section = section
        self._rows = tuple(recipients)

    def send(self, severity: str, kind: str, text: str, about: str = "") -> None:
        """Have an alert sent. `kind` is its id (`MAIL.RES_CON_START_ALERT.MEMORY`).

        Alerts of one kind `about` the same thing are repeated at growing intervals only.
        """
        if self._silent:
            return
        alert_class = class_of(kind)
        to = takers(self._section, self._rows, alert_class, severity)
        verdict = self._limit.judge(f"{kind} {about}", self._section, counted=bool(to))
        if not to and not verdict.why:
            verdict = verdict._replace(why=f"nobody is to get {alert_class}/{severity}")
        number = secrets.token_hex(8)
        kept = text[:_TEXT_LIMIT]
        alert = Alert(number, clock.now(), self._daemon, alert_class, severity, kind, kept, tuple(to), verdict.why)
        if verdict.why:
            self._leave_out(alert, about)
            return
        self._record(alert)
        more = f"\n\n({verdict.left_out} alerts of this kind were left out since the last one.)"
        body = f"{kept}{more if verdict.left_out else ''}\n\nHost: {self._hostname}\nAlert: {kind}\n"
        subject = f"{severity} {kind}: {self._hostname}"
        for recipient in to:
            self._line_up(_Outgoing(number, alert_class, severity, subject, body), recipient)

    def _leave_out(self, alert: Alert, about: str) -> None:
        if alert.recipients:
            self.suppressed += 1
        key = (f"{alert.kind} {about}", alert.why)
        if self._records is None or (key not in self._left_out and len(self._left_out) >= _UNWRITTEN_LIMIT):
            return
        times = self._left_out[key].times + 1 if key in self._left_out else 1
        self._left_out[key] = structs.replace(alert, recipients=(), times=times)
        self._news.set()

    def _record(self, record: Record) -> None:
        if self._records is not None and len(self._unwritten) < _UNWRITTEN_LIMIT:
            self._unwritten.append(record)
            self._news.set()

    def _line_up(self, alert: _Outgoing, recipient: str) -> None:
        lane = self._lanes.setdefault(recipient, _Lane(recipient))
        if len(lane.waiting) >= WAITING_LIMIT:
            self._give_up(alert, recipient, f"{WAITING_LIMIT} others wait for its host")
            return
        lane.waiting.append(alert)
        self._wake(lane)

    def _wake(self, lane: _Lane) -> None:
        scope = self._scope
        if scope is None or lane.busy:
            return
        lane.busy = True
        task = scope.start(self._serve(lane, scope), name=f"alerts to {lane.recipient}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self, scope: Scope) -> None:
        """Deliver until stopping; what still waits then gets one attempt each."""
        self._scope = scope
        for lane in list(self._lanes.values()):
            self._wake(lane)
        writer = scope.start(self._keep_records(scope), name="alert records")
        scope.ready()
        await scope.stopping.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._scope = None
        self._news.set()
        await writer
        await self._write(all_=True)

    async def _serve(self, lane: _Lane, scope: Scope) -> None:
        while lane.waiting:
            await self._deliver(lane.waiting.popleft(), lane.recipient, scope)
        lane.busy = False
        self._lanes.pop(lane.recipient, None)

    async def _deliver(self, alert: _Outgoing, recipient: str, scope: Scope) -> None:
        try:
            reason = await self._try_often(alert, recipient, scope)
        except Exception as error:  # an alert that cannot be sent must not end the daemon that wanted to send it
            reason = f"internal error, incident {incident('alerts', error)}"
        if reason:
            self._give_up(alert, recipient, reason)
            return
        self._log.info(f"A {alert.alert_class}/{alert.severity} alert was sent to {_shown(alert, recipient)}.")
        self._record(Delivery(alert.id, clock.now(), recipient))

    def _give_up(self, alert: _Outgoing, recipient: str, reason: str) -> None:
        self._log.warning(f"Internal SMTP giving up on message to {_shown(alert, recipient)}: {clean(reason)}")
        self._record(Delivery(alert.id, clock.now(), recipient, reason[:_TEXT_LIMIT]))

    async def _try_often(self, alert: _Outgoing, recipient: str, scope: Scope) -> str:
        """Give '' when it is delivered, else why not."""
        message = self._direct.message(recipient, alert.subject, alert.text)
        reason = await self._direct.send(message, recipient)
        for wait_s in self._retries_s:
            if not reason or reason.startswith("5") or not await scope.pause(wait_s):
                break
            reason = await self._direct.send(message, recipient)
        return reason

    async def _keep_records(self, scope: Scope) -> None:
        while not scope.stopping.is_set():
            await self._news.wait()
            self._news.clear()
            await self._write()
            await scope.pause(_GATHER_S)
            if self._left_out:
                self._news.set()

    async def _write(self, *, all_: bool = False) -> None:
        records = [*self._unwritten]
        self._unwritten.clear()
        now = self._monotonic()
        if self._left_out and (all_ or now >= self._left_out_after):
            records += self._left_out.values()
            self._left_out.clear()
            self._left_out_after = now + _LEFT_OUT_S
        if self._records is None or not records:
            return
        try:
            await asyncio.to_thread(self._records.append, records)
        except OSError as error:
            self._log.warning(f"{len(records)} records of alerts could not be written: {clean(str(error))}")


def _shown(alert: _Outgoing, recipient: str) -> str:
    return f'{recipient} with subject "{clean(alert.subject)}"'
