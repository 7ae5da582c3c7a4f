"""What a gateway's cpq-listener puts released mail into: the rest of the pipeline, and a journal of its own.

While the work queue is paused (`mail/workqueue.py`) nothing is taken: released mail waits on the appliance that
released it, which comes again. Mail that ends in the hold queue is an alert.
"""

import asyncio
from collections.abc import Callable

from core.content import Content
from core.control import Poke
from core.errors import GatepostError
from core.journal import Journal
from core.maillog import MailLog
from core.record import HOLD_QUEUE, Accepted, Outcome
from cpq.exchange.seen import SeenTransfers
from cpq.exchange.store import TakenIds
from cpq.resume import ResumeIntake
from daemons.config import Esa
from daemons.machine import Machine
from daemons.policy import MailPolicy
from daemons.wiring import journal_settings
from mail.pipeline import Notes, Pipeline, Readable
from mail.workqueue import Pause

Held = Callable[[Outcome], None]


class Resumption:
    """Runs the rest of the pipeline."""

    def __init__(self, pipeline: Pipeline, pause: Pause, held: Held, log: MailLog) -> None:
        self._pipeline = pipeline
        self._pause = pause
        self._held = held
        self._log = log

    def waits_for(self) -> str:
        """Say why nothing is taken now, '' if it is. The order is a small file that the gateways write."""
        try:
            self._pause.look()
        except GatepostError as error:
            return error.text
        return "the work queue is paused" if self._pause.on else ""

    async def resume(self, accepted: Accepted, before: Outcome, content: Content) -> Outcome:
        """Run the stages that `before` does not name as finished."""
        notes, done = Notes(), before.finished
        body = Readable.of(await asyncio.to_thread(b"".join, content.chunks()))
        out = await self._pipeline.run_in_thread(
            accepted, body, finished=done, hold_count=before.hold_count, before=before.decisions, notes=notes
        )
        notes.write(self._log)
        if out.destination == HOLD_QUEUE or out.verdict == "hold":
            self._held(out)
        return out


def resume_intake(
    machine: Machine, document: Esa, log: MailLog, policy: MailPolicy, held: Held
) -> tuple[ResumeIntake, Journal]:
    """Open the journal of released mail. Raises `GatepostError` for an order to pause that cannot be read."""
    seen = SeenTransfers()
    journal = Journal.open(machine.journal("cpq-listener"), journal_settings(document.spool), show=seen.see)
    rest = Resumption(policy.pipeline, Pause(machine.state / "workqueue.json"), held, log)
    intake = ResumeIntake(
        journal,
        TakenIds(machine.state / "transfers.db"),
        seen,
        rest.resume,
        serial=machine.serial,
        mids=machine.numbers("mid"),
        log=log,
        queue=Poke(machine.socket("delivery-queue")),
        waits_for=rest.waits_for,
    )
    return intake, journal
