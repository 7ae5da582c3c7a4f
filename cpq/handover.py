"""Carrying released messages from the store's outbox into the journal of `release-host`, exactly once each.

The outbox row's id becomes the transfer id. A message is written to the journal (destination `the.cpq.release.host`,
target = the serial of its gateway) and, when that is durable, its row is cleared. A process that died in between finds
the id when it opens the journal at its next start (`SeenTransfers`) and clears the row without writing again. Content
files are removed after their row was cleared, and their removal row after that. Logs trouble; raises nothing while
running.
"""

import asyncio
from collections.abc import Iterator

from core.clock import Clock, now
from core.content import Content
from core.errors import GatepostError
from core.journal import Journal, JournalError
from core.killpoint import killpoint
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from core.record import RELEASE_HOST, encode
from cpq.content import ContentFolder
from cpq.exchange.seen import SeenTransfers
from cpq.held import Leaving, Outbox
from cpq.metadata import accepted_of, outcome_of
from cpq.supply import Poke
from protocol.quarantine.bounded import FrameError
from protocol.quarantine.frame import decode_frame

BATCH = 50
INTERVAL_S = 2.0


class HandOver:
    """The service."""

    name = "hand-over of released mail"

    def __init__(
        self,
        outbox: Outbox,
        folder: ContentFolder,
        journal: Journal,
        queue: Poke,
        log: MailLog,
        *,
        seen: SeenTransfers,
        clock: Clock = now,
    ) -> None:
        """`seen` is what `Journal.open` was given to look with."""
        self._outbox = outbox
        self._folder = folder
        self._journal = journal
        self._queue = queue
        self._log = log
        self._clock = clock
        self._written = set(seen.handed_over)
        """Ids that are durable in the journal and whose rows may still be there."""
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look now: something was released or deleted."""
        self._woken.set()

    async def run(self, scope: Scope) -> None:
        """Hand over and clear away until stopping."""
        scope.start(self._wake_at_stop(scope), name="stop")
        scope.ready()
        while not scope.stopping.is_set():
            with scope.activity("handing over released messages"):
                await self.turn()
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    async def _wake_at_stop(self, scope: Scope) -> None:
        await scope.stopping.wait()
        self._woken.set()

    async def turn(self) -> None:
        """Do all that can be done now; what fails is tried again in the next turn."""
        try:
            while rows := await self._outbox.leaving(BATCH):
                for row in rows:
                    await self._hand_over(row)
            while names := await self._outbox.removals(BATCH):
                await asyncio.to_thread(self._folder.remove, names)
                killpoint("quarantine.content.removed")
                await self._outbox.removed(names)
        except (GatepostError, JournalError, FrameError, OSError) as error:
            self._log.critical(f"centralized policy quarantine: released mail not handed over: {clean(str(error))}")

    async def _hand_over(self, row: Leaving) -> None:
        if row.transfer_id not in self._written:
            await self._write(row)
            self._written.add(row.transfer_id)
            killpoint("quarantine.handed-over.journal")
        await self._outbox.handed_over([row.transfer_id])
        killpoint("quarantine.handed-over")
        self._written.discard(row.transfer_id)
        self._queue.poke("journal")

    async def _write(self, row: Leaving) -> None:
        frame = decode_frame(row.frame)
        accepted = accepted_of(frame, mid=row.mid, icid=0, peer=frame.sender_serial, at=self._clock())
        outcome = outcome_of(
            frame,
            mid=row.mid,
            verdict="deliver",
            destination=RELEASE_HOST,
            target=row.target,
            transfer_id=row.transfer_id,
        )
        content = self._journal.content()
        try:
            await self._fill(content, row.id)
        except BaseException:
            content.discard()
            raise
        durable: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._journal.append(row.mid, encode(accepted), content, encode(outcome), durable.set_result)
        failure = await durable
        if failure is not None:
            raise failure
        self._log.info(f"MID {row.mid} queued for delivery to {RELEASE_HOST}, appliance {row.target}")

    async def _fill(self, content: Content, name: str) -> None:
        """Copy the content file, waiting whenever the writer lags behind."""
        drained = asyncio.Event()
        content.on_drained = drained.set
        chunks: Iterator[bytes] = self._folder.chunks(name)
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            drained.clear()
            content.write(chunk)
            if content.congested:
                await drained.wait()
