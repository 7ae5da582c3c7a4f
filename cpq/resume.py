"""Taking released mail back on a gateway: the rest of the pipeline, the journal, the transfer id, then `250`.

The intake behind `cpq_listener` of an ESA. The pipeline is handed in by the root: `resume(accepted, prior, content)`
runs the stages that `prior.finished` does not name and gives the outcome. Accepted and outcome are one journal
record, so nothing is left to be run again after a crash. The transfer id is written to `state/transfers.db` after the
journal is durable and before 250; should the process die between the two, the id is found in the journal when that is
opened again (`SeenTransfers`), before any segment can be recycled, and written down before the listener opens.
Logs the MID lines. Raises nothing to the sessions.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine

import msgspec

from core.clock import Clock, now
from core.content import Content
from core.journal import Journal
from core.killpoint import killpoint
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from core.record import Accepted, Outcome, encode
from cpq.exchange.seen import SeenTransfers, taken_id
from cpq.exchange.store import TakenId, TakenIds
from cpq.held import Known
from cpq.hold import CONFLICT
from cpq.metadata import accepted_of, outcome_of
from cpq.receive import Delivery, incident_reply
from cpq.supply import Numbers, Poke
from protocol.quarantine.grammar import Readiness
from protocol.reply import Reply
from protocol.smtp.conversation import Answer

Resume = Callable[[Accepted, Outcome, Content], Outcome | Awaitable[Outcome]]
"""The rest of the pipeline: gives what the stages still to come decided. Earlier edits and decisions are in the second
argument, to look at; they are put in front of the new ones here."""
IN_PROGRESS = Reply(451, "4.3.0", "this transfer is under way on another connection")


class ResumeIntake:
    """Takes released messages back."""

    name = "released mail intake"

    def __init__(
        self,
        journal: Journal,
        taken: TakenIds,
        seen: SeenTransfers,
        resume: Resume,
        *,
        serial: str,
        mids: Numbers,
        log: MailLog,
        queue: Poke,
        waits_for: Callable[[], str] = lambda: "",
        clock: Clock = now,
    ) -> None:
        """`seen` is what `Journal.open` was given to look with; `waits_for` says why nothing is taken now, or ''."""
        self._journal = journal
        self._taken = taken
        self._seen = seen
        self._resume = resume
        self._serial = serial
        self._mids = mids
        self._log = log
        self._queue = queue
        self._waits_for = waits_for
        self._clock = clock
        self._under_way: set[bytes] = set()
        self._durable: dict[bytes, TakenId] = {}
        """In the journal, but not written to the database because that failed."""
        self._scope: Scope | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def readiness(self) -> Readiness:
        """Tell whether released mail is taken now."""
        refusal = self._journal.refusal
        reason = self._waits_for() if refusal is None else "the journal takes nothing now"
        if self._scope is None:
            reason = "starting"
        return Readiness(self._serial, "release", not reason, reason)

    def content(self) -> Content:
        """Start the content of a message."""
        return self._journal.content()

    def store(self, delivery: Delivery, answer: Answer) -> None:
        """Take a message; the answer comes when it is durable."""
        if self._scope is None or delivery.frame.transfer_id in self._under_way:
            delivery.content.discard()
            answer(IN_PROGRESS)
            return
        self._under_way.add(delivery.frame.transfer_id)
        self._start(self._take(self._scope, delivery, answer), "released message")

    def settle(self, peer: str, transfer_ids: list[bytes], answer: Answer) -> None:
        """Forget ids; the answer comes when that is durable."""
        if self._scope is None:
            answer(Reply(451, "4.3.2", "starting"))
            return
        self._start(self._settle(peer, transfer_ids, answer), "settlement")

    def _start(self, work: Coroutine[None, None, None], name: str) -> None:
        assert self._scope is not None
        task = self._scope.start(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def open(self, scope: Scope) -> None:
        """Learn what the journal knows; from then on messages are taken."""
        await self.learn()
        self._scope = scope

    async def close(self) -> None:
        """Finish what the sessions have brought. Called when no session can bring more."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def learn(self) -> None:
        """Write down the transfer ids that are in the journal and not in the database (a crash between the two)."""
        if self._seen.taken:
            await self._taken.remember(self._seen.taken)

    async def _take(self, scope: Scope, delivery: Delivery, answer: Answer) -> None:
        transfer_id = delivery.frame.transfer_id
        try:
            with scope.activity("taking released messages"):
                reply = await self._reply(delivery)
        except Exception as error:  # one message never takes the service down; its sender keeps it
            reply = incident_reply(error, self._log, f"released MID {delivery.frame.sender_mid} not taken")
        self._under_way.discard(transfer_id)
        answer(reply)

    async def _reply(self, delivery: Delivery) -> Reply:
        frame = delivery.frame
        known = await self._known(frame.transfer_id)
        if known is not None:
            delivery.content.discard()
            return self._repeated(delivery, known)
        mid = self._mids.next()
        accepted = accepted_of(frame, mid=mid, icid=delivery.icid, peer=delivery.peer.serial, at=self._clock())
        self._report(delivery, accepted)
        try:
            outcome = await self._run(accepted, outcome_of(frame, mid=mid, verdict="deliver"), delivery.content)
            await self._append(accepted, outcome, delivery.content)
        except BaseException:
            self._log.info(f"Message aborted MID {mid} Receiving aborted")
            raise
        killpoint("quarantine.resumed.journal")
        await self._remember(taken_id(accepted, self._clock()))
        killpoint("quarantine.resumed.known")
        self._log.info(f"MID {mid} ready {accepted.size} bytes from <{clean(accepted.sender)}>")
        self._queue.poke("journal")
        return Reply(250, "2.6.0", f"Ok: Message {mid} accepted")

    async def _run(self, accepted: Accepted, prior: Outcome, content: Content) -> Outcome:
        try:
            await _settled(content)
            outcome = self._resume(accepted, prior, content)
            if inspect.isawaitable(outcome):
                outcome = await outcome
        except BaseException:
            content.discard()
            raise
        return msgspec.structs.replace(
            outcome, edits=[*prior.edits, *outcome.edits], decisions=[*prior.decisions, *outcome.decisions]
        )

    async def _append(self, accepted: Accepted, outcome: Outcome, content: Content) -> None:
        durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(failure: Exception | None) -> None:
            if durable.done():
                return
            if failure is None:
                durable.set_result(None)
            else:
                durable.set_exception(failure)

        self._journal.append(accepted.mid, encode(accepted), content, encode(outcome), done)
        await durable

    async def _known(self, transfer_id: bytes) -> Known | None:
        unwritten = self._durable.get(transfer_id)
        if unwritten is not None:
            await self._remember(unwritten)
        return await self._taken.known(transfer_id)

    async def _remember(self, one: TakenId) -> None:
        self._durable[one.transfer_id] = one
        await self._taken.remember([one])
        del self._durable[one.transfer_id]

    def _repeated(self, delivery: Delivery, known: Known) -> Reply:
        frame, peer = delivery.frame, delivery.peer.serial
        where = f"of centralized policy quarantine on appliance {peer} MID {frame.sender_mid}"
        if known != Known(known.mid, frame.size, frame.sha256, peer):
            self._log.critical(
                f"CPQ ICID {delivery.icid} transfer id {frame.transfer_id.hex()} {where} was used for MID {known.mid}"
                " with another content: refused, the message stays on the sending appliance"
            )
            return CONFLICT
        self._log.info(f"CPQ ICID {delivery.icid} MID {known.mid} repeated {where}: acknowledged, not delivered again")
        return Reply(250, "2.6.0", f"Ok: Message {known.mid} accepted")

    async def _settle(self, peer: str, transfer_ids: list[bytes], answer: Answer) -> None:
        try:
            count = await self._taken.settle(peer, transfer_ids)
        except Exception as error:  # the peer only comes again
            answer(incident_reply(error, self._log, "settlement not stored"))
        else:
            answer(Reply(250, "2.0.0", f"{count} settled"))

    def _report(self, delivery: Delivery, accepted: Accepted) -> None:
        log, mid, icid = self._log, accepted.mid, delivery.icid
        frame = delivery.frame
        log.info(f"Start MID {mid} ICID {icid}")
        log.info(f"MID {mid} ICID {icid} From: <{clean(accepted.sender)}>")
        for one in accepted.recipients:
            log.info(f"MID {mid} ICID {icid} RID {one.rid} To: <{clean(one.address)}>")
        origin = "" if frame.origin_serial == self._serial else f" of appliance {clean(frame.origin_serial)}"
        log.info(
            f"CPQ ICID {icid} MID {frame.origin_mid}{origin} rewritten to MID {mid} by centralized policy quarantine,"
            f" released on appliance {delivery.peer.serial} MID {frame.sender_mid}"
        )


async def _settled(content: Content) -> None:
    """Wait until large content is on the disk, so that all of it can be read. Raises `OSError`."""
    settled: asyncio.Future[OSError | None] = asyncio.get_running_loop().create_future()
    content.settle(settled.set_result)
    failure = await settled
    if failure is not None:
        raise failure
