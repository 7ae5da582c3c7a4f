"""Verbs that act on many recipients: delete, bounce, redirect, release. They run here, in steps, and can be stopped.

`Operations.begin` starts one, `follow` tells how far it is, `stop` ends it after the step under way: what is done stays
done. One changes the queue at a time; dry runs only look. Each step picks messages (mail/queue/select.py), puts those
of the index into memory, and moves their parcels as any other event would, so that done log, book and checkpoint say
what a crash leaves (docs/queue.md). A number is reported when the index has it. Recipients on a connection, or being
reported, are left and counted as busy. Logs who was touched in the mail log's words.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from core.clock import Clock, monotonic
from core.errors import EX_NOINPUT, EX_USAGE, GatepostError
from core.lifecycle import Scope
from core.maillog import Log
from core.record import CHANNEL, HOLD_QUEUE, PSEUDO_HOSTS
from mail.queue.book import Book
from mail.queue.checkpoint import Checkpointer
from mail.queue.load import Loader
from mail.queue.message import Message, Parcel
from mail.queue.phrase import rid_list
from mail.queue.places import segment_of
from mail.queue.reroute import Key, Rerouter, own_way, released_way, route_name
from mail.queue.schedule import Scheduler
from mail.queue.select import BUSY, Picker, Rows, Selector
from mail.queue.settle import Settlement
from mail.queue.state import State
from mail.queue.store import MessageRow, RecipientRow, how_many

Action = Literal["delete", "bounce", "redirect", "release"]
ACTIONS = ("delete", "bounce", "redirect", "release")
STEP = 500
"""Messages looked at in one go."""
PART = 100
"""Messages that are read, and acted on, between two turns of the loop."""
SLICE_S = 0.02
"""Longest time that is acted without letting others run; one parcel may exceed it."""
COMMIT = 2000
"""Messages touched before they are committed."""
KEPT = 20
"""Operations that can still be followed when they have ended."""
LONGEST_WAIT_S = 5.0
Abandon = Callable[[bytes, str, int], Awaitable[None]]
"""Told of a transfer (id, serial, MID) that was attempted and will not be again, so that its receiver may forget it."""


@dataclass
class Operation:
    """One order and how far it is."""

    number: int
    action: Action
    selector: Selector
    to: str = ""
    dry_run: bool = False
    state: str = "waiting"
    """`waiting`, `running`, `done`, `stopped` or `failed`."""
    total: int = 0
    """Messages to look at."""
    looked_at: int = 0
    messages: int = 0
    recipients: int = 0
    busy: int = 0
    unreported: int = 0
    """Recipients whose bounce could not be recorded; they stay."""
    error: str = ""
    stopping: bool = False
    touched: tuple[int, int] = (0, 0)
    """Messages and recipients done since the last commit."""
    began_at: float = 0.0
    """What was received later is not touched: above all, not the reports that this operation makes."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        """Whether it does nothing more."""
        return self.state not in ("waiting", "running")

    def touch(self, recipients: int, messages: int = 1) -> None:
        """Count a message's recipients as done, not committed yet; 0 messages if it was counted before."""
        self.touched = (self.touched[0] + messages, self.touched[1] + recipients)

    def committed(self) -> None:
        """Count what was done since the last commit."""
        self.messages += self.touched[0]
        self.recipients += self.touched[1]
        self.touched = (0, 0)

    def document(self) -> dict[str, Any]:
        """Give what an operator is told."""
        names = ("action", "state", "dry_run", "total", "looked_at", "messages", "recipients", "busy", "unreported")
        document = {name: getattr(self, name) for name in names}
        return document | {"id": str(self.number), "to": self.to or None, "error": self.error or None}


@dataclass(frozen=True)
class Hands:
    """What operations act through."""

    scheduler: Scheduler
    book: Book
    settlement: Settlement
    loader: Loader
    checkpointer: Checkpointer


async def _nobody(_transfer_id: bytes, _serial: str, _mid: int) -> None:
    return None


class Operations:
    """The service that runs them."""

    name = "operations"

    def __init__(self, picker: Picker, hands: Hands, *, log: Log, now: Clock) -> None:
        self._picker = picker
        self._hands = hands
        self._rerouter = Rerouter(hands.scheduler, hands.book)
        self._log = log
        self._now = now
        self.abandon: Abandon = _nobody
        """Set by the root, which knows the paired appliances."""
        self._scope: Scope | None = None
        self._one = asyncio.Lock()
        self._known: dict[int, Operation] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._failing: list[Parcel] = []
        self._transfers: list[tuple[bytes, str, int]] = []

    def open(self, scope: Scope) -> None:
        """Take orders from now on; they run as tasks of this scope."""
        self._scope = scope

    async def close(self) -> None:
        """Wait until the steps under way are done; the scope is stopping."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def begin(self, args: dict[str, Any]) -> dict[str, Any]:
        """Start an operation: `action`, a selector, `to` (redirect), `dry_run`. Raises 64, 65."""
        action = str(args.get("action", ""))
        if action not in ACTIONS or self._scope is None:
            raise GatepostError(f"{action!r}: an operation is one of {', '.join(ACTIONS)}", EX_USAGE)
        selector = Selector.of(args)
        if action == "release":
            selector = Selector(HOLD_QUEUE, selector.sender, selector.mids, selector.condition)
        to = route_name(str(args.get("to", ""))) if action == "redirect" else ""
        number = max(self._known, default=0) + 1
        operation = Operation(number, cast(Action, action), selector, to, bool(args.get("dry_run")))
        operation.began_at = self._now()
        self._known[number] = operation
        for old in [one for one in self._known if one <= number - KEPT and self._known[one].ended]:
            del self._known[old]
        task = self._scope.start(self._run(operation, self._scope), name=f"{action} operation")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return operation.document()

    def _named(self, args: dict[str, Any]) -> Operation:
        number = str(args.get("id", ""))
        found = self._known.get(int(number) if number.isdecimal() else 0)
        if found is None:
            raise GatepostError(f"there is no operation {number!r}; the daemon may have been restarted", EX_NOINPUT)
        return found

    async def follow(self, args: dict[str, Any]) -> dict[str, Any]:
        """Tell how far an operation (`id`) is, when it ends or after `wait_s`."""
        operation = self._named(args)
        if not operation.ended:
            try:
                async with asyncio.timeout(min(float(args.get("wait_s") or 0.0), LONGEST_WAIT_S)):
                    await operation.changed.wait()
            except TimeoutError:
                pass
        return operation.document()

    async def stop(self, args: dict[str, Any]) -> dict[str, Any]:
        """Have an operation (`id`) end after the step under way."""
        operation = self._named(args)
        operation.stopping = True
        return operation.document()

    async def _run(self, operation: Operation, scope: Scope) -> None:
        try:
            if operation.dry_run:
                await self._walk(operation, scope)
            else:
                async with self._one:
                    await self._walk(operation, scope)
        except GatepostError as error:
            operation.state, operation.error = "failed", error.text
        except BaseException:
            operation.state, operation.error = "failed", "the daemon stopped"
            raise
        finally:
            operation.changed.set()

    async def _walk(self, operation: Operation, scope: Scope) -> None:
        operation.state = "running"
        selector, picker = operation.selector, self._picker
        stream = picker.stream(selector)
        if selector.mids is None:
            operation.total = await picker.database.run(how_many, selector.host, selector.sender)
        ended = False
        while not ended and not (operation.stopping or scope.stopping.is_set()):
            mids = await stream.next(STEP)
            ended = not mids
            await self._step(operation, mids)
            operation.looked_at += len(mids)
            operation.total = max(operation.total, operation.looked_at)
            if operation.touched[0] >= COMMIT:
                await self._commit(operation)
        await self._commit(operation)
        operation.state = "done" if ended else "stopped"

    async def _step(self, operation: Operation, mids: list[int]) -> None:
        looked = await self._picker.look(operation.selector, mids)
        found = {mid: one for mid, one in looked.items() if one.accepted.received_at <= operation.began_at}
        if operation.dry_run:
            for one in found.values():
                free = sum(not entry.busy for entry in one.entries)
                operation.busy += len(one.entries) - free
                operation.recipients += free
                operation.messages += bool(free)
            return
        wanted = {mid: {entry.recipient.rid for entry in one.entries} for mid, one in found.items()}
        begun: set[int] = set()
        while wanted:
            part = list(wanted)[:PART]
            rows = await self._picker.rows(part)
            # No await in here: what the rows say is true until the next one.
            self._part(operation, part, wanted, rows, begun)
            await asyncio.sleep(0)
        await self._reported(operation)

    def _part(
        self, operation: Operation, part: list[int], wanted: dict[int, set[int]], rows: Rows, begun: set[int]
    ) -> None:
        """Act on some messages for a slice of time, and take what was acted on out of `wanted`."""
        until = monotonic() + SLICE_S
        for mid in part:
            message = self._hands.book.messages.get(mid)
            lifted: list[Parcel] = []
            if mid in self._hands.book.damaged:
                self._damaged(operation, rows.get(mid), wanted.pop(mid))
                continue
            if message is None and mid in rows:
                message = self._hands.loader.lift(*rows[mid])
                lifted = list(message.parcels) if message is not None else []
            if message is None or self._touch(operation, message, wanted[mid], begun, until):
                del wanted[mid]
            for parcel in lifted:
                if parcel.state is State.NEW:
                    self._hands.scheduler.add(parcel, self._now(), loaded=True)
            if monotonic() >= until:
                return

    def _damaged(
        self, operation: Operation, found: tuple[MessageRow, list[RecipientRow]] | None, wanted: set[int]
    ) -> None:
        """Take away a message that cannot be delivered, whole or not at all; nothing else can be done with one."""
        if found is None or operation.action != "delete" or wanted != {one.rid for one in found[1]}:
            return
        row, recipients = found
        book = self._hands.book
        for one in recipients:
            destination = self._hands.scheduler.destination((one.destination, one.target))
            destination.active -= 1
            destination.stored -= 1
            destination.attempted -= bool(one.attempts)
        moved = book.moving.get(row.mid)
        book.remove_row(row.mid, segment_of(row) if moved is None else moved.new)
        self._log.info(f"Deleted: MID {row.mid}, damaged, to {rid_list(sorted(wanted))}")
        operation.touch(len(recipients))

    def _touch(self, operation: Operation, message: Message, wanted: set[int], begun: set[int], until: float) -> bool:
        """Act on what is wanted of a message until a time; true if that is all. What was looked at leaves `wanted`."""
        done, whole = 0, True
        for parcel in list(message.parcels):
            chosen = [one for one in parcel.recipients if one.rid in wanted]
            if not chosen or operation.selector.host not in (None, parcel.destination[0]):
                continue
            if done and monotonic() >= until:
                whole = False
                break
            wanted.difference_update([one.rid for one in chosen])
            if parcel.state in BUSY:
                operation.busy += len(chosen)
                continue
            if operation.action == "redirect" and parcel.destination[0] in PSEUDO_HOSTS | {operation.to}:
                continue
            part = parcel if len(chosen) == len(parcel.recipients) else parcel.split(chosen)
            done += len(chosen)
            self._act(operation, part)
        if done and operation.action != "bounce":
            operation.touch(done, int(message.mid not in begun))
            begun.add(message.mid)
        return whole

    def _act(self, operation: Operation, part: Parcel) -> None:
        message = part.message
        if part.destination[0] in CHANNEL and part.attempts and message.outcome.transfer_id:
            self._transfers.append((message.outcome.transfer_id, part.destination[1], message.mid))
        if operation.action == "delete":
            self._hands.settlement.deleted(part)
        elif operation.action == "bounce":
            self._bounce(part)
        elif operation.action == "redirect":
            self._send_on(part, {one.rid: (operation.to, message.outcome.gateway) for one in part.recipients})
        else:
            self._send_on(part, {one.rid: released_way(message, one) for one in part.recipients})

    def _bounce(self, part: Parcel) -> None:
        """Return to the sender; what stands in a pseudo host by the profile of its own domain."""
        parts = [part]
        if part.destination[0] in PSEUDO_HOSTS:
            parts = self._rerouter.split_by(part, {one.rid: own_way(part.message, one) for one in part.recipients})
        for one in parts:
            self._failing.append(one)
            self._hands.settlement.bounced_by_operator(one)

    def _send_on(self, part: Parcel, way: dict[int, Key]) -> None:
        for one in self._rerouter.split_by(part, way):
            rids = rid_list([recipient.rid for recipient in one.recipients])
            self._log.info(f"MID {one.mid} to RID {rids} redirected to {one.destination[0]}")
            self._hands.scheduler.add(one, self._now())

    async def _reported(self, operation: Operation) -> None:
        """Wait until every bounce of this step is durable, or could not be made so."""
        failing, self._failing = self._failing, []
        done: dict[int, int] = {}
        for parcel in failing:
            recipients = len(parcel.recipients)
            while parcel.state is State.FAILING:  # noqa: ASYNC110 - its report calls back the settlement, not us
                await asyncio.sleep(0.005)
            if parcel.state is State.DONE:
                done[parcel.mid] = done.get(parcel.mid, 0) + recipients
            else:
                operation.unreported += recipients
        for n in done.values():
            operation.touch(n)

    async def _commit(self, operation: Operation) -> None:
        """Make what was done durable in the index before it is counted."""
        if operation.dry_run:
            return
        transfers, self._transfers = self._transfers, []
        for transfer in transfers:
            await self.abandon(*transfer)
        checkpointer = self._hands.checkpointer
        if operation.touched[0] and not await checkpointer.make():
            raise GatepostError(f"the queue's index cannot be written: {checkpointer.failure}")
        operation.committed()
