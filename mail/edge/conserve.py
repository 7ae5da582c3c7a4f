"""Resource conservation: a gateway measures what could run out, and slows receiving before it does.

A service of every gateway process. Once a second it reads memory of the mail processes, free disk, how long the
journal takes to write, what waits for import and what waits in the work queue, grades them (core/pressure.py) and sets
the `Brake` that listeners and intake look at. Every change is a line in the mail log with its cause; the beginning
and the end are alerts. Above a length of the work queue the listeners are suspended as a whole, and resumed below.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from core.alert.alerts import Alerts
from core.alert.kind import CRITICAL, INFO
from core.condition import Concern, Condition, Figure
from core.control import peer_pid
from core.disk import Disk, used_percent
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from core.memory import Memory, give_back, is_shortage
from core.pressure import REFUSE, Cause, Change, Pressure
from core.smtp.door import Brake
from mail.edge.config import ConservationSection
from mail.listeners import Listeners

EVERY_S: Final = 1.0
LOOK_AGAIN: Final = 10
"""Readings for which the processes that were found are taken to be the same."""
MEMORY: Final = "memory"
DISK: Final = "disk"
SYNC: Final = "journal write"
BACKLOG: Final = "queue backlog"
WORK_QUEUE: Final = "work queue"
_ALERT_OF: Final = {MEMORY: "MEMORY", WORK_QUEUE: "WORKQ"}
_PROCESSES: Final = ("gateway-*", "cpq-listener", "delivery-queue", "release-host")


@dataclass(frozen=True, slots=True)
class Readings:
    """What is measured; each gives a value now and is quick."""

    sync_s: Callable[[], float]
    backlog_percent: Callable[[], float]
    work_queue: Callable[[], int]
    trouble: Callable[[], str]
    """Why the journal takes nothing, '' while it does."""


class Meter:
    """Reads memory and disk, off the loop."""

    def __init__(self, run: Path, spool: Path, memory: Memory, disk: Disk | None = None) -> None:
        """`run` holds the control sockets, by which the mail processes are found."""
        self._run = run
        self._spool = spool
        self._memory = memory
        self._disk = disk or Disk()
        self._found: frozenset[int] = frozenset()
        self._good_for = 0

    def read(self) -> dict[str, float]:
        """Give per cent of memory and disk in use; what cannot be read is left out."""
        values = {MEMORY: self._memory.utilization(self.pids())}
        try:
            free, total = self._disk.space(self._spool)
            values[DISK] = used_percent(free, total)
        except OSError:
            return values
        return values

    def follow(self, memory: Memory) -> None:
        """Measure memory against another limit."""
        self._memory = memory

    def pids(self) -> Iterable[int]:
        """Give the processes that handle mail on this machine, this one among them before its socket is open."""
        if not self._good_for:
            sockets = [path for name in _PROCESSES for path in self._run.glob(f"{name}.sock")]
            self._found = frozenset({os.getpid(), *(pid for path in sockets if (pid := peer_pid(path)))})
            self._good_for = LOOK_AGAIN
        self._good_for -= 1
        return self._found


class Conservation:
    """The service."""

    name = "resource conservation"

    def __init__(
        self,
        section: ConservationSection,
        brake: Brake,
        meter: Meter,
        readings: Readings,
        *,
        listeners: Listeners,
        hostname: str,
        log: MailLog,
        alerts: Alerts,
    ) -> None:
        self._section = section
        self._brake = brake
        self._meter = meter
        self._readings = readings
        self._listeners = listeners
        self._hostname = hostname
        self._log = log
        self._alerts = alerts
        self._pressure = Pressure(_causes(section))
        self._values: dict[str, float] = {}
        self._trouble = ""
        self._blind = False

    def gauges(self) -> dict[str, Any]:
        """Give what the status page shows."""
        return {
            "resource_conservation": self._pressure.grade,
            "ram_utilization": round(self._values.get(MEMORY, 0.0), 1),
            "disk_utilization_spool": round(self._values.get(DISK, 0.0), 1),
        }

    def condition(self) -> Condition:
        """Say whether mail is slowed down or refused, and how near each cause is to that."""
        pressure, concerns = self._pressure, []
        if pressure.grade == REFUSE:
            concerns.append(Concern("receiving", True, f"no mail is taken, for want of room: {pressure.worst}"))
        elif pressure.grade:
            concerns.append(Concern("receiving", False, f"receiving is slowed by {pressure.grade} s: {pressure.worst}"))
        shares = pressure.shares(self._values).items()
        return Condition(
            tuple(concerns), tuple(Figure("pressure_ratio", part, {"cause": name}) for name, part in shares)
        )

    def follow(self, section: ConservationSection, memory: Memory) -> None:
        """Go by other thresholds from the next reading on; what has begun goes on as far as they say so."""
        self._section = section
        self._meter.follow(memory)
        self._pressure.follow(_causes(section))

    async def run(self, scope: Scope) -> None:
        """Measure once a second until stopping; then nobody is made to wait any more."""
        await self.turn()
        scope.ready()
        while await scope.pause(EVERY_S):
            await self.turn()
        self._brake.release()

    async def turn(self) -> None:
        """Measure once and act on it."""
        values = await self._measure()
        readings = self._readings
        values |= {SYNC: readings.sync_s(), BACKLOG: readings.backlog_percent(), WORK_QUEUE: readings.work_queue()}
        self._values = values
        change = self._pressure.judge(values)
        if change is not None:
            self._act(change)
        self._watch_journal(readings.trouble())
        await self._regulate_listeners(values[WORK_QUEUE])

    async def _measure(self) -> dict[str, float]:
        """Give memory and disk, as they were when there is no descriptor, thread or memory to look with."""
        try:
            if self._pressure.grade:
                await asyncio.to_thread(give_back)  # else what a flood took would look like a need for ever
            values = await asyncio.to_thread(self._meter.read)
        except Exception as error:
            if not (isinstance(error, OSError) or is_shortage(error)):
                raise
            if not self._blind:
                self._log.warning(f"Memory and disk cannot be measured now: {clean(str(error) or repr(error))}")
            self._blind = True
            return {name: value for name, value in self._values.items() if name in {MEMORY, DISK}}
        if self._blind:
            self._log.info("Memory and disk can be measured again")
        self._blind = False
        return values

    def _act(self, change: Change) -> None:
        brake, grade = self._brake, change.grade
        brake.refusing = grade == REFUSE
        brake.delay_s = 0.0 if brake.refusing else float(grade)
        if not grade:
            brake.release()
        (self._log.warning if grade else self._log.info)(f"Resource conservation: {change}")
        kind = _ALERT_OF.get(change.cause.name, "QUEUE")
        severity = INFO if kind == "WORKQ" else CRITICAL
        if not change.before:
            text = (
                f"system (hostname: {self._hostname}) has entered a 'resource conservation' mode: {change.cause.name} "
                f"is at {change.value:.1f} {change.cause.unit}, the mode begins at {change.cause.start:g}. Receiving "
                f"slows down from here on; at {change.cause.halt:g} no mail is taken until there is room again."
            )
            self._alerts.send(severity, f"MAIL.RES_CON_START_ALERT.{kind}", text)
        elif not grade:
            text = (
                f"system (hostname: {self._hostname}) has left the 'resource conservation' mode; receiving is normal."
            )
            self._alerts.send(severity, "MAIL.RES_CON_STOP_ALERT", text)

    def _watch_journal(self, trouble: str) -> None:
        if trouble and not self._trouble:
            self._log.critical(f"The spool takes no mail: {clean(trouble)}")
            text = f"system (hostname: {self._hostname}): the spool takes no mail: {trouble}"
            self._alerts.send(CRITICAL, "MAIL.SPOOL_UNHEALTHY", text)
        elif self._trouble and not trouble:
            self._log.info("The spool takes mail again")
        self._trouble = trouble

    async def _regulate_listeners(self, waiting: float) -> None:
        section = self._section
        if not section.work_queue_suspend:
            return
        if waiting >= section.work_queue_suspend and not self._listeners.held:
            self._listeners.hold(f"{waiting:g} messages in the work queue")
        elif waiting <= section.work_queue_resume and self._listeners.held:
            await self._listeners.let_go(f"{waiting:g} messages in the work queue")


def _causes(section: ConservationSection) -> list[Cause]:
    return [
        Cause(MEMORY, section.memory_start, section.memory_halt),
        Cause(DISK, section.disk_start, section.disk_halt),
        Cause(SYNC, section.sync_start_s, section.sync_halt_s, "s"),
        Cause(BACKLOG, section.backlog_start, section.backlog_halt),
        Cause(WORK_QUEUE, section.work_queue_start, section.work_queue_halt, "messages"),
    ]
