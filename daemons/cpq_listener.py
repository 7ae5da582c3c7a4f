"""cpq-listener: the quarantine channel's hidden listener `cpq_listener`, SMTP over mutual TLS on 7025.

On an SMA it takes held mail into the quarantine store (spool/quarantine, shared with release-host); on an ESA it takes
released mail back, runs the rest of the pipeline and writes it to its journal spool/journal/cpq-listener. Listens on
run/cpq-listener.sock: `status`, `suspend`, `resume`, `reload_certificates`.
"""

from functools import partial
from pathlib import Path
from typing import cast

from core.lifecycle import Service
from core.runtime import Daemon
from cpq.config import policy_of
from cpq.listener import Binding, CpqListener
from cpq.receive import Intake
from daemons.alerting import alarm_of, alerts_of, following, names_verbs
from daemons.config import Esa, Sma
from daemons.edge import alert_of_held
from daemons.holding import following_quarantines, hold_intake
from daemons.machine import Machine
from daemons.policy import MailPolicy
from daemons.reload import Part, switch_of
from daemons.renew import Renewal
from daemons.resuming import resume_intake

NAME = "cpq-listener"


def build(config: Path) -> Daemon:
    """Wire the daemon. Raises `ConfigError` before anything opens."""
    machine = Machine.open(config)
    document = cast(Esa | Sma, machine.document)
    log, pairings = machine.mail_log(), machine.pairings()
    alerts = alerts_of(machine, document, NAME, log)
    log.alarm = alarm_of(alerts, "QUARANTINE.CRITICAL")
    services: list[Service] = [log, alerts]
    intake: Intake
    parts: list[Part] = [following(alerts)]
    if isinstance(document, Sma):
        quarantines = policy_of(document.quarantine)
        parts.append(following_quarantines(quarantines))
        intake = hold_intake(machine, document, quarantines, log)
    else:
        policy = MailPolicy(machine, document, log, "cpq-listener")
        parts.append(policy.prepare)
        intake, journal = resume_intake(machine, document, log, policy, partial(alert_of_held, alerts))
        services.append(journal)
    section = document.cpq
    binding = Binding(machine.hostname, section.address, section.port, section.implicit_tls, section.max_connections)
    state = machine.state / f"{NAME}.json"
    listener = CpqListener(binding, intake, pairings, icids=machine.numbers("icid"), log=log, state=state)
    own = Renewal(pairings.reload, log, alerts)
    verbs = {"status": listener.status, "suspend": listener.suspend, "resume": listener.resume}
    verbs |= {"reload_certificates": own.renew, **names_verbs(alerts.resolver, machine.hostname)}
    switch = switch_of(machine, NAME, log.warning, *parts, also=partial(own.renew, {}))
    grace_s = document.runtime.grace_s
    return Daemon(NAME, [*services, listener], machine.socket(NAME), verbs, grace_s, switch)
