"""delivery-queue: the durable queue, scheduling per destination, delivery, bounces.

Listens on run/delivery-queue.sock: `status`, `tophosts`, `hoststatus`, `showrecipients`, `suspend`, `resume`, `poke`.
Owns spool/queue and the journal spool/journal/delivery-queue (bounces); reads every journal of the machine. Talks to
other mail hosts, over port 7025 to paired appliances, and on an SMA to release-host. A commit brings other tables.
"""

from pathlib import Path
from typing import cast

from core import clock
from core.journal import Journal
from core.lifecycle import Service
from core.record import CPQ_HOST, RELEASE_HOST
from core.runtime import Daemon
from cpq.exchange.store import OwedIds
from cpq.settle import Settlements
from cpq.transfer import QuarantineCourier, Sender
from daemons.config import Esa, Sma
from daemons.delivery import connection_settings, handling, logs_of_outcomes
from daemons.machine import Machine
from daemons.outbound_tls import OutboundTls
from daemons.reload import switch_of
from daemons.tables import RunningTables
from daemons.wiring import journal_settings, locate_through
from mail.delivery.courier import Courier
from mail.delivery.smtp_courier import SmtpCourier
from mail.queue.queue import DeliveryQueue


def build(config: Path) -> Daemon:
    """Wire the daemon. Raises `ConfigError` before anything opens."""
    machine = Machine.open(config)
    document = cast(Esa | Sma, machine.document)
    log, counters, pairings = machine.mail_log(), machine.counters("delivery-queue"), machine.pairings()
    dcids, outcome_logs = machine.numbers("dcid"), logs_of_outcomes(machine)
    tables = RunningTables(machine, document, log)
    counters.show(lambda: {"delivery_conn_id": dcids.last})
    tables.also = (tls := OutboundTls(machine, document, tables, log)).reconfigure
    smtp = SmtpCourier(
        tables.resolver,
        connection_settings(machine, document),
        security=tls.security,
        next_dcid=dcids.next,
        log=log,
        now=clock.monotonic,
        gateways=tables.gateways,
        limits=tables.destinations.limits,
        handling=handling(machine, document, tables.destinations),
    )
    counters.also(lambda: tables.names.statistics.counts() | smtp.counts())
    owed = OwedIds(machine.state / "settle.db")
    tls_first = document.cpq.implicit_tls
    sender = Sender(machine.serial, machine.hostname, pairings, owed, dcids, log, implicit_tls=tls_first)
    channel = QuarantineCourier(sender, locate_through(machine) if isinstance(document, Sma) else None)
    couriers: dict[str, Courier] = {"": smtp, CPQ_HOST: channel, RELEASE_HOST: channel}

    own = Journal.open(machine.journal("delivery-queue"), journal_settings(document.spool, reserve=False))
    queue = DeliveryQueue(
        machine.spool,
        machine.state,
        tables.queue_settings(),
        journal=own,
        couriers=couriers,
        log=log,
        outcome_logs=outcome_logs,
        counters=counters,
        mids=machine.numbers("mid"),
        facts=smtp.facts,
        wall=clock.now,
    )
    settlements = Settlements(owed, channel, pairings, queue.is_queued, log)
    queue.operations.abandon = settlements.abandon

    tables.serve(smtp, queue)
    switch = switch_of(machine, "delivery-queue", log.warning, tables.prepare, tables.around, tls.prepare)
    services: list[Service] = [log, counters, tables.alerts, *tls.services, own, queue, settlements]
    verbs, grace_s = queue.verbs() | tls.verbs(own, queue.importer.poke) | tables.verbs(), document.runtime.grace_s
    return Daemon("delivery-queue", services, machine.socket("delivery-queue"), verbs, grace_s, switch)
