"""The work queue of a gateway can be paused: mail is still accepted, and waits in the journal for its pipeline.

An operator's order is a small file that all gateways of the machine share, so it stays in force over a restart. While
it holds, a message is written without an outcome and answered; only its MID stays in memory. After the order is lifted
the messages are read again from the journal, in their order, and go through the pipeline; what arrives meanwhile
stands behind them. Raises `GatepostError`: 66 for a MID that does not wait here, 75 when it cannot be read or removed.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.clock import Clock
from core.condition import Concern, Condition
from core.content import HEAD_BYTES
from core.disk import Disk, read_file, replace_file
from core.errors import EX_CANTCREAT, EX_CONFIG, EX_NOINPUT, EX_TEMPFAIL, EX_USAGE, GatepostError
from core.journal import Journal, JournalDamaged, JournalError, Recovered, open_content, read_content
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from core.record import Outcome, decode_accepted, encode
from mail.content import render_chunks
from mail.intake import Intake
from mail.mime import Headers
from mail.pipeline import Readable
from mail.queue.reading import facts_of, headers_of, piece_of

BATCH = 100
LOOK_S = 0.2


class Order(msgspec.Struct, frozen=True):
    """Who has paused the work queue, why and when."""

    who: str
    reason: str
    at: float


class Pause:
    """The order in force, if there is one."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        """Take up the order that was in force. Raises status 78 if it cannot be read."""
        self._path = path
        self._disk = disk or Disk()
        self.order: Order | None = None
        self.look()

    @property
    def on(self) -> bool:
        """Whether the work queue is paused."""
        return self.order is not None

    def look(self) -> None:
        """Read the order; blocking for a moment."""
        try:
            data = read_file(self._disk, self._path)
            self.order = msgspec.json.decode(data, type=Order) if data else None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            text = f"{self._path}: the work queue's order cannot be read ({error}); remove the file to resume"
            raise GatepostError(text, EX_CONFIG) from error

    def give(self, order: Order | None) -> None:
        """Write an order down, or take it back; durable when this returns."""
        try:
            self._disk.make_directory(self._path.parent)
            replace_file(self._disk, self._path, msgspec.json.encode(order) if order is not None else b"")
        except OSError as error:
            raise GatepostError(f"{self._path}: the order cannot be written down: {error}", EX_CANTCREAT) from error
        self.order = order


class WorkQueue:
    """The waiting messages of one intake and its journal: a service."""

    def __init__(self, intake: Intake, journal: Journal, pause: Pause, *, log: MailLog) -> None:
        self.name = f"work queue of {journal.name}"
        self.intake = intake
        self._journal = journal
        self._pause = pause
        self._log = log
        intake.paused = lambda: pause.on

    def condition(self) -> Condition:
        """Say whether mail waits here by somebody's order."""
        text = "the work queue is paused; workqueue resume lets it go on"
        return Condition((Concern("delivery", False, text),) if self._pause.on else ())

    async def run(self, scope: Scope) -> None:
        """Run what waits whenever nothing holds it back, until stopping."""
        scope.ready()
        while await scope.pause(LOOK_S):
            if self.intake.held and not self._pause.on:
                await self._drain(scope)

    async def _drain(self, scope: Scope) -> None:
        wanted = dict.fromkeys(self.intake.held)
        walk = self._journal.waiting(self.intake.held)
        try:
            while batch := await asyncio.to_thread(_some, walk):
                for entry in batch:
                    if self._pause.on or scope.stopping.is_set():
                        return
                    wanted.pop(entry.mid, None)
                    if entry.mid in self.intake.held:
                        with scope.activity("work queue"):
                            await self._again(entry)
        except (OSError, JournalError) as error:
            self._log.critical(f"The work queue cannot be read from the journal now: {clean(str(error))}")
            return
        for mid in wanted:
            if mid in self.intake.held:
                del self.intake.held[mid]
                self._log.critical(f"MID {mid} waited in the work queue, and the journal has no record of it any more")

    async def _again(self, entry: Recovered) -> None:
        try:
            accepted = decode_accepted(entry.accepted)
            data = await asyncio.to_thread(read_content, entry.content)
        except (OSError, JournalError, msgspec.DecodeError) as error:
            self._log.critical(f"MID {entry.mid} cannot be read again: {clean(str(error))}")
            self.intake.held.pop(entry.mid, None)  # it is tried again at the next start
            return
        await self.intake.work(accepted, Readable(Headers(data[:HEAD_BYTES]), lambda: data))
        self.intake.held.pop(entry.mid, None)

    async def entry(self, mid: int) -> Recovered:
        """Read a message that waits here. Raises status 75 if it has left meanwhile or cannot be read."""
        try:
            found = await asyncio.to_thread(next, self._journal.waiting({mid}), None)
        except (OSError, JournalError) as error:
            raise GatepostError(f"MID {mid} cannot be read now: {error}", EX_TEMPFAIL) from None
        if found is None:
            raise GatepostError(f"MID {mid} has just left the work queue", EX_TEMPFAIL)
        return found

    async def remove(self, entry: Recovered) -> int:
        """Finish a message without a word; gives the number of its recipients. Raises status 75."""
        if entry.mid not in self.intake.held:
            raise GatepostError(f"MID {entry.mid} is busy: the pipeline has it", EX_TEMPFAIL)
        self.intake.held.pop(entry.mid)
        told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        outcome = encode(Outcome(entry.mid, "drop", reason="removed by an operator"))
        self._journal.append_outcome(entry.mid, outcome, told.set_result)
        error = await told
        if error is not None:
            self.intake.held[entry.mid] = None
            raise GatepostError(f"MID {entry.mid} cannot be removed now: {error}", EX_TEMPFAIL)
        self._log.info(f"Message aborted MID {entry.mid} Removed by an operator")
        self._log.info(f"Message finished MID {entry.mid} aborted")
        return len(decode_accepted(entry.accepted).recipients)


class WorkQueues:
    """All work queues of a gateway process, those of adopted journals too: one order holds for all. The verbs."""

    def __init__(self, pause: Pause, log: MailLog, now: Clock = clock.now) -> None:
        self.pause = pause
        self._log = log
        self._now = now
        self._queues: list[WorkQueue] = []

    def add(self, intake: Intake, journal: Journal) -> WorkQueue:
        """Give the work queue of an intake and its journal, to be run by the caller."""
        self._queues.append(WorkQueue(intake, journal, self.pause, log=self._log))
        return self._queues[-1]

    @property
    def messages(self) -> int:
        """Messages that are accepted and not through the pipeline."""
        return sum(one.intake.working + len(one.intake.held) for one in self._queues)

    def verbs(self) -> dict[str, Any]:
        """Give the control verbs."""
        return {
            "workqueue": self._status,
            "workqueue_pause": self._paused,
            "workqueue_resume": self._resumed,
            "message": self._message,
            "message_piece": self._piece,
            "remove_message": self._remove,
        }

    async def _status(self, _args: dict[str, Any]) -> dict[str, Any]:
        order, pending = self.pause.order, self.messages
        came = self._queues[0].intake.counters.snapshot().get("inj_msgs", {}).get("uptime", 0)
        return {
            "paused_by": order.who if order else None,
            "reason": order.reason if order else None,
            "paused_at": order.at if order else None,
            "messages": pending,
            "in": came,
            "out": came - pending,
        }

    async def _paused(self, args: dict[str, Any]) -> dict[str, Any]:
        order = Order(str(args.get("who") or "an operator"), str(args.get("reason") or ""), self._now())
        self.pause.give(order)
        self._log.warning(f"Work queue paused by {clean(order.who)}: {clean(order.reason)}")
        return await self._status({})

    async def _resumed(self, _args: dict[str, Any]) -> dict[str, Any]:
        self.pause.give(None)
        self._log.info(f"Work queue resumed with {self.messages} messages")
        return await self._status({})

    async def _find(self, args: dict[str, Any]) -> tuple[WorkQueue, Recovered]:
        text = str(args.get("mid", ""))
        if not text.isdecimal():
            raise GatepostError(f"{text!r} is no MID: give a number", EX_USAGE)
        mid = int(text)
        for queue in self._queues:
            if mid in queue.intake.held:
                return queue, await queue.entry(mid)
        raise GatepostError(f"MID {mid} does not wait in this work queue", EX_NOINPUT)

    async def _message(self, args: dict[str, Any]) -> dict[str, Any]:
        _, entry = await self._find(args)
        accepted = decode_accepted(entry.accepted)
        headers = await asyncio.to_thread(headers_of, render_chunks(accepted, None, open_content(entry.content)))
        return {**facts_of(accepted, self._now(), headers), "where": "work queue"}

    async def _piece(self, args: dict[str, Any]) -> dict[str, Any]:
        _, entry = await self._find(args)
        chunks = render_chunks(decode_accepted(entry.accepted), None, open_content(entry.content))
        try:
            return await asyncio.to_thread(piece_of, chunks, int(args.get("offset") or 0))
        except (OSError, JournalDamaged) as error:
            raise GatepostError(f"MID {entry.mid} cannot be read now: {error}", EX_TEMPFAIL) from None

    async def _remove(self, args: dict[str, Any]) -> dict[str, Any]:
        queue, entry = await self._find(args)
        return {"recipients": await queue.remove(entry)}


def _some(walk: Iterator[Recovered]) -> list[Recovered]:
    return list(islice(walk, BATCH))
