"""release-host: what becomes of quarantined mail: release, deletion, expiry, overflow, and the way back.

Runs on an SMA. Listens on run/release-host.sock: `quarantine_list`, `quarantine_show`, `quarantine_release`,
`quarantine_delete`, `locate`, `status`. Writes the quarantine store (spool/quarantine, shared with cpq-listener) and
its journal spool/journal/release-host. Asks a gateway's console over SSH where to hand mail back.
"""

from pathlib import Path
from typing import cast

from core.control import Poke
from core.given import given_or
from core.journal import Journal
from core.lifecycle import Service
from core.runtime import Daemon
from cpq.config import policy_of
from cpq.content import ContentFolder
from cpq.exchange.seen import SeenTransfers
from cpq.handover import HandOver
from cpq.locate import Locator, command_client
from cpq.pair import COMMAND_USER, LISTENER_COMMAND
from cpq.release import Release
from cpq.store import SqliteStore
from cpq.sweep import Sweep
from daemons.alerting import alarm_of, alerts_of, following
from daemons.config import Sma
from daemons.holding import following_quarantines, keeping_quarantines
from daemons.machine import Machine
from daemons.reload import switch_of
from daemons.wiring import journal_settings


def build(config: Path) -> Daemon:
    """Wire the daemon. Raises `ConfigError` before anything opens."""
    machine = Machine.open(config)
    document = cast(Sma, machine.document)
    log = machine.mail_log()
    alerts = alerts_of(machine, document, "release-host", log)
    log.alarm = alarm_of(alerts, "QUARANTINE.CRITICAL")
    folder = machine.spool / "quarantine"
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    store, files = SqliteStore(folder / "quarantine.db"), ContentFolder(folder / "content")
    seen = SeenTransfers()
    journal = Journal.open(machine.journal("release-host"), journal_settings(document.spool), show=seen.see)
    queue = Poke(machine.socket("delivery-queue"))
    handover = HandOver(store.outbox, files, journal, queue, log, seen=seen)
    policy = policy_of(document.quarantine)
    sweep = Sweep(store, policy, handover, log, quota_octets=document.cpq.quota_mib << 20, alert=alerts.send)
    ask = command_client(given_or(machine.keys / "command_client_ed25519"), COMMAND_USER, LISTENER_COMMAND)
    locator = Locator(machine.pairings(), ask, log, alternate=document.cpq.alternate_release_appliance)
    release = Release(store, files, locator, log, quarantines=policy.known, decided=handover.wake)
    services: list[Service] = [log, alerts, journal, handover, sweep]
    parts = (following(alerts), keeping_quarantines(policy, store.catalogue), following_quarantines(policy))
    switch = switch_of(machine, "release-host", log.warning, *parts)
    grace_s = document.runtime.grace_s
    return Daemon("release-host", services, machine.socket("release-host"), release.verbs(), grace_s, switch)
