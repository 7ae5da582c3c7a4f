"""The connections: one task for each, which carries parcel after parcel and asks the scheduler for the next.

A connection is opened only for a parcel, kept while there is work, and closed after so many messages or when it has
been idle for some seconds. Nothing is awaited per message but the peer. The scheduler decides (`plan`), the courier
of the destination does the talking, the settlement draws the conclusions.

A fault in one connection never takes down another: whatever a courier raises that it should not is logged with an
incident number, and its parcel waits.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.clock import Clock
from core.diagnostic import incident
from mail.delivery.courier import Courier, Line
from mail.queue.connection import Connections
from mail.queue.destination import Destination
from mail.queue.importer import Log
from mail.queue.message import Parcel
from mail.queue.schedule import Scheduler
from mail.queue.settle import Settlement
from protocol.errors import MailError, PermanentFailure


class Starter(Protocol):
    """The service's task group."""

    def start(self, coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]: ...


@dataclass(slots=True, eq=False)
class Slot:
    """One open connection: its line, and while it is idle who wakes it."""

    destination: Destination
    line: Line
    carried: int = 0
    idle_since_s: float = 0.0
    wake: "asyncio.Future[Parcel | None] | None" = field(default=None)


class Dispatcher:
    """All connections of the queue."""

    def __init__(
        self,
        scheduler: Scheduler,
        settlement: Settlement,
        couriers: Mapping[str, Courier],
        *,
        log: Log,
        now: Clock,
        idle_close_s: float = 5.0,
    ) -> None:
        """`couriers` is by destination name; the one named '' serves all others."""
        self._scheduler = scheduler
        self._settlement = settlement
        self._connections = Connections(scheduler)
        self._couriers = couriers
        self._log = log
        self._now = now
        self._idle_close_s = idle_close_s
        self._idle: dict[Slot, None] = {}
        self._starter: Starter | None = None
        self._planned = False
        scheduler.plan_wanted = self.wake

    def begin(self, starter: Starter) -> None:
        """Start attempts; the tasks belong to `starter`."""
        self._starter = starter
        self.wake()

    def wake(self) -> None:
        """Have a plan made at the end of this turn of the loop."""
        if not self._planned and self._starter is not None:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._plan)

    def _plan(self) -> None:
        self._planned = False
        assert self._starter is not None
        plan = self._scheduler.plan(self._now())
        for slot, parcel in plan.hand:
            self._idle.pop(slot, None)
            if slot.wake is not None and not slot.wake.done():
                slot.wake.set_result(parcel)
            else:
                self._scheduler.give_back(parcel)
        for destination, parcel in plan.open:
            self._starter.start(self._serve(destination, parcel), name=f"delivery to {destination.name}")

    def sweep(self) -> None:
        """Close connections that have been idle for too long; called about once a second."""
        limit = asyncio.get_running_loop().time() - self._idle_close_s
        for slot in [one for one in self._idle if one.idle_since_s <= limit or not one.line.usable]:
            self._release(slot)

    def release_idle(self) -> None:
        """Close all idle connections."""
        for slot in list(self._idle):
            self._release(slot)

    def _release(self, slot: Slot) -> None:
        self._idle.pop(slot, None)
        if slot.wake is not None and not slot.wake.done():
            self._connections.busy_again(slot.destination, slot)
            slot.wake.set_result(None)

    @property
    def open_lines(self) -> int:
        """Connections open or being opened."""
        return self._scheduler.connections

    async def _serve(self, destination: Destination, parcel: Parcel) -> None:
        """Open a connection for a parcel, then carry what there is."""
        line = await self._open(destination, parcel)
        if line is None:
            return
        slot = Slot(destination, line)
        try:
            await self._carry_all(slot, parcel)
        finally:
            self._connections.closed(destination)
        await line.close()

    async def _open(self, destination: Destination, parcel: Parcel) -> Line | None:
        """Give an open line, or None after the parcel was settled or given back."""
        courier = self._couriers.get(destination.name) or self._couriers[""]
        try:
            line = await courier.open(destination.name, destination.target)
        except PermanentFailure as failure:
            self._connections.abandoned(destination)
            reply = failure.reply
            self._settlement.impossible(parcel, _text(failure), reply.enhanced or "5.1.2")
            return None
        except MailError as failure:
            self._failed(destination, parcel, _text(failure), failure.reply.enhanced)
            return None
        except (OSError, TimeoutError) as failure:
            self._failed(destination, parcel, str(failure) or "timeout", "4.4.1")
            return None
        except asyncio.CancelledError:
            self._connections.abandoned(destination)
            raise
        except Exception as failure:
            number = incident("delivery", failure)
            self._failed(destination, parcel, f"internal error, incident {number}", "4.3.0")
            return None
        self._connections.opened(destination)
        return line

    def _failed(self, destination: Destination, parcel: Parcel, text: str, enhanced: str) -> None:
        if self._connections.open_failed(destination, self._now()):
            self._settlement.unreachable(parcel, text, enhanced or "4.4.0")
        else:
            destination.last_failure = text
            self._scheduler.give_back(parcel)

    async def _carry_all(self, slot: Slot, first: Parcel) -> None:
        destination, line = slot.destination, slot.line
        take, now = self._scheduler.take, self._now
        most = destination.limits.messages_per_connection
        parcel: Parcel | None = first
        while parcel is not None:
            if not line.usable:
                self._scheduler.give_back(parcel)
                return
            await self._carry(line, parcel)
            slot.carried += 1
            if slot.carried >= most or not line.usable:
                return
            parcel = take(destination, now()) or await self._rest(slot)

    async def _carry(self, line: Line, parcel: Parcel) -> None:
        self._settlement.started(parcel, line)
        try:
            results = await line.send(parcel)
        except asyncio.CancelledError:
            self._log.info(f"Message aborted on DCID {line.dcid} MID {parcel.mid}: the service stops")
            raise
        except Exception as failure:
            number = incident("delivery", failure)
            self._settlement.unreachable(parcel, f"internal error, incident {number}", "4.3.0")
            return
        self._settlement.results(parcel, line, results)

    async def _rest(self, slot: Slot) -> Parcel | None:
        """Wait without work; gives the next parcel, or None to close."""
        if self._scheduler.stopped:
            return None
        loop = asyncio.get_running_loop()
        slot.wake = loop.create_future()
        slot.idle_since_s = loop.time()
        self._idle[slot] = None
        self._connections.idle(slot.destination, slot)
        try:
            return await slot.wake
        except asyncio.CancelledError:
            if self._idle.pop(slot, slot) is None:
                self._connections.busy_again(slot.destination, slot)
            raise


def _text(failure: MailError) -> str:
    return failure.reason or " ".join(failure.reply.lines) or str(failure.reply)
