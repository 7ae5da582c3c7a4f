"""The alerts of a daemon as its machine's configuration has them, for the roots."""

from pathlib import Path

from core.alert import Alerts
from core.alert.config import AlertsSection
from core.alert.record import AlertRecords
from core.dns import Resolver
from core.maillog import Log
from daemons.config import Document
from daemons.machine import Machine


def alert_records(machine_dir: Path) -> AlertRecords:
    """Give the machine's memory of alerts."""
    return AlertRecords(machine_dir / "state" / "alerts")


def alerts_of(
    machine: Machine,
    document: Document,
    daemon: str,
    log: Log,
    resolver: Resolver | None = None,
    *,
    silent: bool = False,
) -> Alerts:
    """Build the alerts of a daemon; `silent` ones go nowhere, where another process sees the same."""
    resolver = resolver or Resolver(document.dns.servers, timeout_s=document.dns.timeout_s)
    if silent:
        return Alerts(AlertsSection(), hostname=machine.hostname, resolver=resolver, log=log)
    return Alerts(
        document.alerts,
        document.alert_recipient,
        hostname=machine.hostname,
        resolver=resolver,
        log=log,
        daemon=daemon,
        records=alert_records(machine.dir),
    )
