"""Settling transfers: telling a receiver that it may forget transfer ids, because nobody will ever send them again.

Runs in delivery-queue on both machines. An id is owed from the peer's 250 on (cpq/transfer.py writes it down). It may
be settled when the queue will never try that message again: `is_queued(mid)` says no, and its done-record has had time
to be synced. Until the peer has answered the settlement with 250 the id stays in `state/settle.db`; settling twice is
harmless. So a crash anywhere costs at worst another settlement, never a second message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from core.clock import Clock, monotonic
from core.errors import GatepostError
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from core.record import CPQ_HOST, RELEASE_HOST
from cpq.exchange.store import OwedIds
from cpq.pairing import Pairings
from cpq.transfer import QuarantineCourier
from protocol.errors import TemporaryFailure
from protocol.quarantine.grammar import MAX_SETTLED
from protocol.reply import Reply
from protocol.smtp.failure import ClientFailure

INTERVAL_S = 30.0
SYNCED_AFTER_S = 60.0
"""A done-record is on the disk this long after it was written; the queue syncs many times a second."""

IsQueued = Callable[[int], Awaitable[bool]]
"""Whether the queue still has (or is still importing) the message with this MID."""


class Line(Protocol):
    """A connection that ids can be settled on."""

    async def settle(self, transfer_ids: Sequence[bytes]) -> Reply:
        """Send them; give the peer's answer."""

    async def close(self) -> None:
        """Take leave."""


class Settlements:
    """The service. Start it when the queue has imported what it had."""

    name = "quarantine settlements"

    def __init__(
        self,
        owed: OwedIds,
        courier: QuarantineCourier,
        pairings: Pairings,
        is_queued: IsQueued,
        log: MailLog,
        *,
        clock: Clock = monotonic,
    ) -> None:
        self._owed = owed
        self._courier = courier
        self._pairings = pairings
        self._is_queued = is_queued
        self._log = log
        self._clock = clock
        self._seen: dict[bytes, float] = {}
        """When an id was first seen to be out of the queue, in this life of the process."""

    async def run(self, scope: Scope) -> None:
        """Settle what can be settled, every half minute."""
        scope.ready()
        while await scope.pause(INTERVAL_S):
            with scope.activity("settling transfers"):
                await self.turn()

    async def turn(self) -> None:
        """Do one round; what fails is tried again in the next."""
        try:
            await self._find_finished()
            for peer, transfer_ids in (await self._owed.due(MAX_SETTLED)).items():
                await self._settle(peer, transfer_ids)
        except GatepostError as error:
            self._log.warning(f"centralized policy quarantine: transfers not settled: {clean(error.text)}")

    async def abandon(self, transfer_id: bytes, serial: str, mid: int) -> None:
        """Have a receiver forget a transfer that was attempted and is given up: it may have taken the message.

        `serial` is the receiver's, '' = the paired management host. It is settled once the queue is rid of the MID.
        """
        peer = self._pairings.named(serial) if serial else self._pairings.only("sma")
        if peer is not None:
            await self._owed.owe(transfer_id, peer.serial, mid)

    async def _find_finished(self) -> None:
        now = self._clock()
        seen: dict[bytes, float] = {}
        finished = []
        for transfer_id, mid in await self._owed.open():
            if await self._is_queued(mid):
                continue
            seen[transfer_id] = self._seen.get(transfer_id, now)
            if now - seen[transfer_id] >= SYNCED_AFTER_S:
                finished.append(transfer_id)
        self._seen = seen
        if finished:
            await self._owed.finish(finished)

    async def _settle(self, peer: str, transfer_ids: list[bytes]) -> None:
        pairing = self._pairings.named(peer)
        if pairing is None:
            return
        try:
            line = await self._courier.open(CPQ_HOST if pairing.role == "sma" else RELEASE_HOST, peer)
        except TemporaryFailure:
            return  # the courier has logged it
        try:
            async with asyncio.timeout(INTERVAL_S):
                reply = await line.settle(transfer_ids)
        except (ClientFailure, TimeoutError):
            return
        finally:
            await line.close()
        if reply.code == 250:
            await self._owed.paid(transfer_ids)
        else:
            self._log.warning(f"appliance {peer} does not settle transfers: {clean(str(reply))}")
