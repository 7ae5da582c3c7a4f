"""The alerts of a daemon as its machine's configuration has them, for the roots."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.alert import Alerts
from core.alert.config import AlertsSection, alerting_of
from core.alert.direct import DirectPath
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


def direct_path(machine: Machine, log: Log | None, tables: Mapping[str, Any]) -> DirectPath:
    """Build the way of mail past the queue that plain tables of a configuration describe. Raises `ConfigError`."""
    section = alerting_of(tables, str(machine.config)).alerts
    dns = machine.document.dns
    resolver = Resolver(dns.servers, timeout_s=dns.timeout_s)
    return DirectPath(section, hostname=machine.hostname, resolver=resolver, log=log)
