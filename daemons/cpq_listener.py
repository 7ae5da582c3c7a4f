"""cpq-listener: the quarantine channel's hidden listener `cpq_listener`, SMTP over mutual TLS on 7025.

On an SMA it takes held mail into the quarantine store (spool/quarantine, shared with release-host); on an ESA it takes
released mail back, runs the rest of the pipeline and writes it to its journal spool/journal/cpq-listener. Listens on
run/cpq-listener.sock: `status`, `suspend`, `resume`, `reload_certificates`.
"""

import asyncio
from pathlib import Path
from typing import cast

from core.content import Content
from core.control import Poke
from core.journal import Journal
from core.lifecycle import Service
from core.record import Accepted, Outcome
from core.runtime import Daemon, Reload
from cpq.exchange.seen import SeenTransfers
from cpq.exchange.store import TakenIds
from cpq.listener import Binding, CpqListener
from cpq.receive import Intake
from cpq.resume import ResumeIntake
from daemons.config import Esa, Sma
from daemons.holding import hold_intake
from daemons.machine import Machine
from daemons.policy import MailPolicy
from daemons.renew import Renewal
from daemons.wiring import journal_settings
from mail.pipeline import Notes, Readable

NAME = "cpq-listener"


def build(config: Path) -> Daemon:
    """Wire the daemon. Raises `ConfigError` before anything opens."""
    machine = Machine.open(config)
    document = cast(Esa | Sma, machine.document)
    log, pairings = machine.mail_log(), machine.pairings()
    services: list[Service] = [log]
    intake: Intake
    reload: Reload | None = None
    if isinstance(document, Sma):
        intake = hold_intake(machine, document, log)
    else:
        policy = MailPolicy(machine, document, log)
        pipeline, reload = policy.pipeline, policy.reload

        async def resume(accepted: Accepted, before: Outcome, content: Content) -> Outcome:
            notes, done = Notes(), before.finished
            body = Readable.of(await asyncio.to_thread(b"".join, content.chunks()))
            out = await pipeline.run_in_thread(
                accepted, body, finished=done, hold_count=before.hold_count, before=before.decisions, notes=notes
            )
            notes.write(log)
            return out

        seen = SeenTransfers()
        folder, settings = machine.journal(NAME), journal_settings(document.spool)
        journal = Journal.open(folder, settings, show=seen.see)
        intake = ResumeIntake(
            journal,
            TakenIds(machine.state / "transfers.db"),
            seen,
            resume,
            serial=machine.serial,
            mids=machine.numbers("mid"),
            log=log,
            queue=Poke(machine.socket("delivery-queue")),
        )
        services.append(journal)
    section = document.cpq
    binding = Binding(machine.hostname, section.address, section.port, section.implicit_tls, section.max_connections)
    state = machine.state / f"{NAME}.json"
    listener = CpqListener(binding, intake, pairings, icids=machine.numbers("icid"), log=log, state=state)
    own = Renewal(pairings.reload, log)
    verbs = {"status": listener.status, "suspend": listener.suspend, "resume": listener.resume}
    verbs["reload_certificates"] = own.renew
    grace_s = document.runtime.grace_s
    return Daemon(NAME, [*services, listener], machine.socket(NAME), verbs, grace_s, own.after(reload))
