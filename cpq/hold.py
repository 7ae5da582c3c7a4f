"""Taking mail into quarantine on the management host: `250` only after file and rows are on the disk.

The intake behind `cpq_listener` of an SMA. Messages of all sessions that wait at the same time are written together:
their files first, synced, then one transaction for all; while it commits, the next batch gathers. A failed batch is
answered 451 and leaves nothing; the senders keep the messages and come again with the same transfer ids.
Logs the MID lines. Raises nothing to the sessions.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from core.clock import Clock, now
from core.content import Content, ContentStore
from core.errors import GatepostError
from core.killpoint import killpoint
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from cpq.content import ContentFolder
from cpq.held import Arrival, NewHold, QuarantineStore, Taken, Verdict
from cpq.policy import Policy, stays_held
from cpq.receive import Delivery, incident_reply
from cpq.supply import Numbers
from protocol.quarantine.frame import Frame
from protocol.quarantine.grammar import Readiness
from protocol.reply import Reply
from protocol.smtp.conversation import Answer

BATCH = 64
_LOOK_AT_SPACE_S = 5.0
CONFLICT = Reply(554, "5.6.0", "this transfer id was used for another message")


@dataclass(frozen=True, slots=True)
class Place:
    """What an intake works with."""

    store: QuarantineStore
    folder: ContentFolder
    contents: ContentStore
    policy: Policy
    mids: Numbers
    log: MailLog


@dataclass(slots=True)
class _Waiting:
    delivery: Delivery
    arrival: Arrival
    answer: Answer
    written: bool = False


class HoldIntake:
    """Stores what the sessions bring."""

    def __init__(
        self, place: Place, serial: str, *, quota_octets: int = 0, clock: Clock = now, paused: Callable[[], str] = str
    ) -> None:
        """`quota_octets` 0 = no limit; `paused` gives why nothing is taken now, '' if it is."""
        self._place = place
        self._serial = serial
        self._quota = quota_octets
        self._clock = clock
        self._paused = paused
        self._waiting: list[_Waiting] = []
        self._settling = 0
        self._settlements: list[tuple[str, list[bytes], Answer]] = []
        self._woken = asyncio.Event()
        self._closing = False
        self._work: asyncio.Task[None] | None = None
        self._held = 0

    def readiness(self) -> Readiness:
        """Tell what is taken here and whether it is now."""
        reason = self._paused()
        if not reason and self._quota and self._held > self._quota + self._quota // 10:
            reason = "the quarantine is full"
        return Readiness(self._serial, "hold", not reason, reason, self._place.policy.names)

    def content(self) -> Content:
        """Start the content of a message."""
        return self._place.contents.new()

    def store(self, delivery: Delivery, answer: Answer) -> None:
        """Queue a message for the next batch, once a spilled content is complete on the disk."""
        self._settling += 1

        def settled(failure: OSError | None) -> None:
            self._settling -= 1
            self._woken.set()
            if failure is not None:
                delivery.content.discard()
                answer(incident_reply(failure, self._place.log, "content not stored"))
                return
            try:
                arrival = self._arrival(delivery)
            except (OSError, GatepostError) as error:  # no number can be had: out of space, say
                delivery.content.discard()
                answer(incident_reply(error, self._place.log, "message not numbered"))
                return
            self._waiting.append(_Waiting(delivery, arrival, answer))

        delivery.content.settle(settled)

    def settle(self, peer: str, transfer_ids: list[bytes], answer: Answer) -> None:
        """Queue a settlement; it is independent of the batches."""
        self._settlements.append((peer, transfer_ids, answer))
        self._woken.set()

    async def open(self, scope: Scope) -> None:
        """Clear away what a crash left, then store batch after batch until `close`."""
        await self._clear()
        scope.start(self._watch_space(scope), name="space")
        self._work = scope.start(self._store_batches(scope), name="store")

    async def close(self) -> None:
        """Finish what the sessions have brought. Called when no session can bring more."""
        self._closing = True
        self._woken.set()
        if self._work is not None:
            await self._work

    async def _store_batches(self, scope: Scope) -> None:
        while not self._closing or self._settling or self._waiting or self._settlements:
            if not self._waiting and not self._settlements:
                await self._woken.wait()
            self._woken.clear()
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            with scope.activity("storing quarantined messages"):
                await self._store_all(batch)
                await self._settle_all()

    async def _clear(self) -> None:
        """Remove what a crash left: content files without a row, half received content."""
        known = await self._place.store.arrivals.content_names()
        removed = await asyncio.to_thread(self._place.folder.sweep, known)
        await asyncio.to_thread(_empty, self._place.contents)
        if removed:
            self._place.log.info(f"centralized policy quarantine: removed {removed} content files of no message")
        self._held = (await self._place.store.catalogue.held())[1]

    async def _watch_space(self, scope: Scope) -> None:
        while await scope.pause(_LOOK_AT_SPACE_S):
            try:
                self._held = (await self._place.store.catalogue.held())[1]
            except GatepostError as error:  # busy, say: the figure of a moment ago will do
                self._place.log.warning(f"centralized policy quarantine: how full it is is not known: {error.text}")

    async def _settle_all(self) -> None:
        settlements, self._settlements = self._settlements, []
        for peer, transfer_ids, answer in settlements:
            try:
                count = await self._place.store.arrivals.settle(peer, transfer_ids)
                answer(Reply(250, "2.0.0", f"{count} settled"))
            except Exception as error:  # whatever fails in the store, the peer only comes again
                answer(incident_reply(error, self._place.log, "settlement not stored"))

    async def _store_all(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            taken = await self._write(batch)
        except Exception as error:  # the batch is the boundary: nothing of it is stored, everybody is told
            reply = incident_reply(error, self._place.log, f"{len(batch)} messages not stored")
            for one in batch:
                one.answer(reply)
        else:
            for one, verdict in zip(batch, taken, strict=True):
                self._report(one, verdict)
        finally:
            for one in batch:
                one.delivery.content.discard()

    async def _write(self, batch: list[_Waiting]) -> list[Taken]:
        place = self._place
        known = await place.store.arrivals.known([one.arrival.transfer_id for one in batch])
        new = [one for one in batch if one.arrival.transfer_id not in known]
        try:
            await asyncio.to_thread(self._write_files, new)
            killpoint("quarantine.files.synced")
            taken = await place.store.arrivals.take([one.arrival for one in batch])
            killpoint("quarantine.taken")
        except BaseException:
            await asyncio.to_thread(place.folder.remove, [one.arrival.id for one in new if one.written])
            raise
        spare = [one.arrival.id for one, verdict in zip(batch, taken, strict=True) if _spare(one, verdict)]
        if spare:
            await asyncio.to_thread(place.folder.remove, spare)
        return taken

    def _write_files(self, new: list[_Waiting]) -> None:
        folder = self._place.folder
        for one in new:
            folder.write(one.arrival.id, one.delivery.content.chunks())
            one.written = True
        folder.sync(one.arrival.id for one in new)

    def _arrival(self, delivery: Delivery) -> Arrival:
        frame = delivery.frame
        at = self._clock()
        return Arrival(
            id=f"{int(at * 1000):012x}{secrets.token_hex(6)}",
            mid=self._place.mids.next(),
            peer=delivery.peer.serial,
            transfer_id=frame.transfer_id,
            origin_serial=frame.origin_serial,
            origin_mid=frame.origin_mid,
            sender=frame.sender,
            recipients=tuple(one.address for one in frame.recipients),
            subject=frame.subject,
            size=frame.size,
            sha256=frame.sha256,
            received_at=frame.received_at,
            held_at=at,
            hold_count=frame.hold_count,
            holds=self._holds(frame, at),
            frame=delivery.frame_octets,
        )

    def _holds(self, frame: Frame, at: float) -> tuple[NewHold, ...]:
        """Give the quarantines that take the message; several unknown names share `Unclassified`."""
        policy = self._place.policy
        found: dict[str, NewHold] = {}
        for one in frame.holds:
            name = policy.named(one.quarantine).name
            expires_at = policy.expiry(one.quarantine, at, one.expires_at, frame.hold_count)
            found.setdefault(name, NewHold(name, one.quarantine, one.reason, one.matched, expires_at))
        return tuple(found.values())

    def _report(self, one: _Waiting, taken: Taken) -> None:
        log = self._place.log
        icid, peer, frame = one.delivery.icid, one.delivery.peer.serial, one.delivery.frame
        where = f"from appliance {peer} MID {frame.sender_mid} to centralized policy quarantine"
        if taken.verdict is Verdict.CONFLICT:
            log.critical(
                f"CPQ ICID {icid} transfer id {frame.transfer_id.hex()} {where} was used for MID {taken.mid} with"
                " another content: refused, the message stays on the sending appliance"
            )
            one.answer(CONFLICT)
            return
        if taken.verdict is Verdict.REPEATED:
            log.info(f"CPQ ICID {icid} MID {taken.mid} repeated {where}: acknowledged, not stored again")
        else:
            self._report_stored(one.arrival, icid, where)
        one.answer(Reply(250, "2.6.0", f"Ok: Message {taken.mid} accepted"))

    def _report_stored(self, one: Arrival, icid: int, where: str) -> None:
        log, mid = self._place.log, one.mid
        log.info(f"Start MID {mid} ICID {icid}")
        log.info(f"MID {mid} ICID {icid} From: <{clean(one.sender)}>")
        for rid, address in enumerate(one.recipients):
            log.info(f"MID {mid} ICID {icid} RID {rid} To: <{clean(address)}>")
        log.info(f'MID {mid} Subject "{clean(one.subject)}"')
        log.info(f"CPQ ICID {icid} MID {mid} {where}")
        log.info(f"MID {mid} ready {one.size} bytes from <{clean(one.sender)}>")
        for hold in one.holds:
            asked = "" if hold.asked == hold.quarantine else f', "{clean(hold.asked)}" is not configured'
            log.info(f'MID {mid} quarantined to "{clean(hold.quarantine)}" ({clean(hold.reason)}{asked})')
        if stays_held(one.hold_count):
            log.critical(
                f"MID {mid} was quarantined {one.hold_count} times: it stays held until it is deleted;"
                f" find out what holds it on appliance {one.origin_serial}"
            )


def _empty(contents: ContentStore) -> None:
    """Remove spilled contents of another life of this process; nobody was told 250 for them."""
    contents.disk.make_directory(contents.directory)
    for name in contents.disk.names(contents.directory):
        contents.disk.unlink(contents.directory / name)


def _spare(one: _Waiting, taken: Taken) -> bool:
    """Tell whether a file was written for a message that turned out to be known."""
    return one.written and taken.verdict is not Verdict.STORED
