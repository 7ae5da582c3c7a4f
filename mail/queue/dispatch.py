"""The connections: one task for each, which carries parcel after parcel and asks the scheduler for the next.

A connection is opened only for a parcel, kept while there is work, and closed after so many messages or when it has
been idle for some seconds. Nothing is awaited per message but the peer. The scheduler decides (`plan`), the courier
of the destination does the talking, the settlement draws the conclusions.

A fault in one connection never takes down another: whatever a courier raises that it should not is logged with an
incident number, and its parcel waits. A task that makes no progress for longer than its peer's time-outs can explain
is cancelled by the watchdog (`sweep`), with a line that says where it stood; its parcel waits too.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from itertools import islice
from typing import Any, Protocol

from core.clock import Clock
from core.diagnostic import incident
from core.maillog import Log
from mail.delivery.courier import BY_POLICY, Busy, Courier, Line
from mail.queue.connection import Connections
from mail.queue.destination import Destination
from mail.queue.message import Parcel
from mail.queue.plan import make_plan, yields
from mail.queue.schedule import Scheduler
from mail.queue.settle import Settlement
from mail.queue.watch import Patience, Slot, abandoned, forget_frames, stuck_for
from protocol.errors import MailError, PermanentFailure


class Starter(Protocol):
    """The service's task group."""

    def start(self, coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]: ...


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
        patience: Patience | None = None,
        stuck: Callable[[], None] = lambda: None,
    ) -> None:
        """`couriers` is by destination name; the one named '' serves all others. `stuck` counts what the watchdog
        cancelled."""
        self._scheduler = scheduler
        self._settlement = settlement
        self._connections = Connections(scheduler)
        self._couriers = couriers
        self._log = log
        self._now = now
        self._idle_close_s = idle_close_s
        self._patience = patience or Patience()
        self._stuck = stuck
        self._slots: dict[Slot, None] = {}
        """All connections, open or being opened."""
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
        plan = make_plan(self._scheduler, self._now())
        for slot, parcel in plan.hand:
            self._idle.pop(slot, None)
            if slot.wake is not None and not slot.wake.done():
                slot.wake.set_result(parcel)
            else:
                self._scheduler.give_back(parcel, slot.address)
        for destination, parcel in plan.open:
            slot = Slot(destination, parcel, asyncio.get_running_loop().time())
            self._slots[slot] = None
            slot.task = self._starter.start(self._serve(slot, parcel), name=f"delivery to {destination.name}")
        for slot in list(islice(self._idle, plan.close)):
            self._release(slot)

    def sweep(self) -> None:
        """Close what has been idle for too long, cancel what does not move; called about once a second."""
        now = asyncio.get_running_loop().time()
        limit = now - self._idle_close_s
        for slot in [one for one in self._idle if one.since_s <= limit or not one.usable]:
            self._release(slot)
        for slot in [one for one in self._slots if one.parcel is not None]:
            for_s = stuck_for(slot, now, self._patience)
            if for_s and slot.task is not None and not slot.stuck:
                slot.stuck = f"{slot.doing}: no progress for {for_s:.0f} s"
                self._log.warning(f"DCID {slot.dcid} to {slot.destination.name} is stuck while {slot.stuck}; given up")
                self._stuck()
                slot.cancel()

    def give_up_openings(self) -> None:
        """End attempts to connect, at the stop of the service: no peer has seen anything of their messages."""
        for slot in self._slots:
            if slot.line is None:
                if not slot.begun:
                    slot.stuck = slot.doing
                slot.cancel()

    def release_idle(self) -> None:
        """Close all idle connections."""
        for slot in list(self._idle):
            self._release(slot)

    def let_go(self, chosen: Callable[[Destination], bool], why: str = "") -> int:
        """Close idle connections to some destinations, and with a reason cut the others; give how many these are."""
        for slot in [one for one in self._idle if chosen(one.destination)]:
            self._release(slot)
        busy = [one for one in self._slots if one.parcel is not None and chosen(one.destination)]
        for slot in busy if why else ():
            if slot.task is not None and not slot.stuck:
                slot.stuck = slot.doing
                slot.cut = why
                self._log.info(f"DCID {slot.dcid} to {slot.destination.name} {why} while {slot.stuck}")
                slot.cancel()
        return len(busy)

    def _release(self, slot: Slot) -> None:
        self._idle.pop(slot, None)
        if slot.wake is not None and not slot.wake.done():
            self._connections.busy_again(slot.destination, slot)
            slot.wake.set_result(None)

    @property
    def open_lines(self) -> int:
        """Connections open or being opened."""
        return self._scheduler.connections

    async def _serve(self, slot: Slot, parcel: Parcel) -> None:
        """Open a connection for a parcel, then carry what there is."""
        slot.begun = True
        try:
            if slot.stuck:  # given up before its first step
                self._connections.abandoned(slot.destination)
                self._scheduler.give_back(parcel)
            elif not self._cleared(slot, parcel):
                self._connections.abandoned(slot.destination)
            elif await self._open(slot, parcel):
                await self._use(slot, parcel)
        finally:
            self._slots.pop(slot, None)

    def _cleared(self, slot: Slot, parcel: Parcel) -> bool:
        """Take out who has unsubscribed, uncounted; false if that leaves nobody."""
        before = len(parcel.recipients)
        some = self._settlement.cleared(parcel, slot.address)
        self._connections.refund(slot.destination, before - len(parcel.recipients) if some else before, slot.address)
        return some

    async def _use(self, slot: Slot, parcel: Parcel) -> None:
        """Carry what there is, unless the address that answered may get nothing more for now."""
        assert slot.line is not None
        try:
            if self._connections.charge(slot.destination, parcel, self._now(), slot.address):
                await self._carry_all(slot, parcel)
            else:
                self._scheduler.give_back(parcel)
        finally:
            slot.parcel = None
            self._connections.closed(slot.destination)
        if slot.cut or not slot.stuck:
            await slot.line.close()

    async def _open(self, slot: Slot, parcel: Parcel) -> bool:
        """Open the line; false after the parcel was settled or given back."""
        destination = slot.destination
        courier = self._couriers.get(destination.name) or self._couriers[""]
        try:
            wish = "no" if parcel.accepted.require_tls == "no" else ""
            slot.line = await courier.open(destination.name, destination.target, wish)
        except asyncio.CancelledError:
            if not abandoned(slot):
                self._connections.abandoned(destination)
                raise
            self._failed(destination, parcel, slot.why, "4.4.2")
        except MailError as failure:
            self._refused(destination, parcel, failure)
            forget_frames(failure)
        except (OSError, TimeoutError) as failure:
            self._failed(destination, parcel, str(failure) or "timeout", "4.4.1")
            forget_frames(failure)
        except Exception as failure:
            number = incident("delivery", failure)
            self._failed(destination, parcel, f"internal error, incident {number}", "4.3.0")
        else:
            self._connections.opened(destination, self._now(), proved=not slot.line.excepted)
            slot.carried = slot.line.carried
            slot.line.lend(functools.partial(self._recall, slot))
            return True
        return False

    def _recall(self, slot: Slot) -> bool:
        """Give up a line if it is idle; tells whether it was."""
        idle = slot in self._idle
        if idle:
            self._release(slot)
        return idle

    def _refused(self, destination: Destination, parcel: Parcel, failure: MailError) -> None:
        """Draw the conclusion from a courier's word that there is no connection."""
        if isinstance(failure, Busy):
            self._connections.no_address(destination, self._now(), _text(failure))
            self._scheduler.give_back(parcel)
        elif isinstance(failure, PermanentFailure):
            self._connections.abandoned(destination)
            self._settlement.impossible(parcel, _text(failure), failure.reply.enhanced or "5.1.2")
        else:
            self._failed(destination, parcel, _text(failure), failure.reply.enhanced)

    def _failed(self, destination: Destination, parcel: Parcel, text: str, enhanced: str) -> None:
        if self._connections.open_failed(destination, self._now(), by_policy=enhanced == BY_POLICY):
            self._connections.refund(destination, len(parcel.recipients))
            self._settlement.unreachable(parcel, text, enhanced or "4.4.0")
        else:
            destination.last_failure = text
            self._scheduler.give_back(parcel)

    async def _carry_all(self, slot: Slot, first: Parcel) -> None:
        destination, line = slot.destination, slot.line
        assert line is not None
        scheduler, now, loop_time = self._scheduler, self._now, asyncio.get_running_loop().time
        most = destination.limits.messages_per_connection
        parcel: Parcel | None = first
        while parcel is not None:
            if not line.usable:
                scheduler.give_back(parcel, line.remote_ip)
                return
            if self._cleared(slot, parcel):
                slot.parcel, slot.since_s = parcel, loop_time()
                await self._carry(slot, line, parcel)
                slot.carried += 1
            if slot.carried >= most or not line.usable or slot.stuck:
                return
            if scheduler.hungry and yields(scheduler, destination, slot.carried):
                return
            parcel = scheduler.take(destination, now(), line.remote_ip)
            if parcel is None:
                if line.remote_ip in destination.full:
                    return  # another connection may reach another address
                parcel = await self._rest(slot)

    async def _carry(self, slot: Slot, line: Line, parcel: Parcel) -> None:
        self._settlement.started(parcel, line)
        try:
            results = await line.send(parcel)
        except asyncio.CancelledError:
            if not abandoned(slot):
                self._log.info(f"Message aborted on DCID {line.dcid} MID {parcel.mid}: the service stops")
                raise
            self._settlement.unreachable(parcel, slot.why, "4.4.2")
            return
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
        slot.parcel = None
        slot.wake = loop.create_future()
        slot.since_s = loop.time()
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
