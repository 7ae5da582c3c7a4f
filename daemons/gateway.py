"""gateway: SMTP listeners, policy in the conversation, the pipeline; every `250` from its journal.

Listens on the configured listeners (SO_REUSEPORT, so that several processes share them) and on
run/gateway-N.sock: `status`, `listeners`, `suspend`, `resume`, `reload_filters`, `reload_certificates`. Owns a journal
spool/journal/gateway-N and adopts those whose owner is gone. Pokes delivery-queue. SIGHUP and a commit
bring filters, the alternate source table, listeners, their users and the certificates anew.
"""

from functools import partial
from pathlib import Path
from typing import Any, cast

from core.control import Poke
from core.journal.adopt import open_free, open_orphans, without_owner
from core.journal.journal import Journal
from core.lifecycle import Service
from core.runtime import Daemon
from daemons.config import Esa
from daemons.edge import Edge
from daemons.machine import Machine
from daemons.policy import MailPolicy
from daemons.reload import switch_of
from daemons.wiring import journal_settings
from mail.adopt import Adoption
from mail.gateway import Gateway
from mail.intake import Intake, IntakeSettings
from mail.recover import Recovery
from mail.status import GatewayStatus
from mail.workqueue import Pause, WorkQueues


def build(config: Path, instance: int = 0) -> Daemon:
    """Wire the daemon. Raises `ConfigError` before any socket opens."""
    machine = Machine.open(config)
    document = cast(Esa, machine.document)
    name = f"gateway-{instance}"
    log, counters = machine.mail_log(), machine.counters(name)
    edge = Edge(machine, document, log, instance=instance)
    policy = MailPolicy(machine, document, log, name)

    settings = journal_settings(document.spool)
    journal = open_free(machine.spool / "journal", "gateway", settings)
    orphans = open_orphans(machine.spool / "journal", "gateway", settings)
    poke = partial(Poke(machine.socket("delivery-queue")).poke, name)
    choices = IntakeSettings(machine.hostname, document.filters.thread_above)

    def intake_of(journal: Journal) -> Intake:
        more: dict[str, Any] = {"poke": poke, "brake": edge.brake, "held": edge.note_held}
        return Intake(choices, journal, policy.pipeline, log=log, counters=counters, **more)

    intakes = [intake_of(one) for one in (journal, *orphans)]
    work = WorkQueues(Pause(machine.state / "workqueue.json"), log)
    queues = [work.add(intake, one) for intake, one in zip(intakes, (journal, *orphans), strict=True)]
    recoveries = [
        Recovery(one.recovered, intake, log) for one, intake in zip((journal, *orphans), intakes, strict=True)
    ]
    left = partial(without_owner, machine.spool / "journal", "gateway")
    adoption = Adoption(left, partial(Journal.open, settings=settings), intake_of, work.add, log=log)

    mids, icids = machine.numbers("mid"), machine.numbers("icid")
    shared = Gateway(machine.hostname, intakes[0], log, mids, icids, edge.brake, edge.logins)
    listeners = edge.open(shared)

    async def reload_filters(_: dict[str, Any]) -> dict[str, Any]:
        await policy.reload()
        return {"filters": len(policy.filters.program.filters)}

    conservation = edge.conservation(listeners, journal, intakes)
    counters.show(conservation.gauges)
    counters.also(edge.lookups)
    figures = GatewayStatus(listeners, work, counters, mids, icids)
    verbs = {"suspend": listeners.suspend, "resume": listeners.resume, "listeners": listeners.show}
    verbs |= {"topin": listeners.topin, "status": figures.status, "reset_counters": figures.reset, **work.verbs()}
    services: list[Service] = [log, counters, journal, *orphans, *recoveries, adoption, listeners]
    services += [conservation, edge.alerts, *queues]
    verbs |= {"reload_filters": reload_filters, **edge.verbs()}
    renew = partial(edge.certificates.renew, {})
    switch = switch_of(machine, name, log.warning, policy.prepare, edge.prepare, also=renew)
    return Daemon(name, services, machine.socket(name), verbs, document.runtime.grace_s, switch)
