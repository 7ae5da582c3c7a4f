"""The alerts of a daemon as its machine's configuration has them, for the roots."""

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from core.alert.alerts import Alerts
from core.alert.config import alerting_of
from core.alert.direct import DirectPath
from core.alert.kind import CRITICAL
from core.alert.record import AlertRecords
from core.dns import Resolver, resolver_of
from core.maillog import Log
from core.switch import Prepared, prompt
from daemons.config import Document
from daemons.machine import Machine
from daemons.reload import Part

_ALIKE = 40
Verb = Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]


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
    resolver = resolver or resolver_of(document.dns)
    return Alerts(
        document.alerts,
        document.alert_recipient,
        hostname=machine.hostname,
        resolver=resolver,
        log=_Twice(log, machine),
        daemon=daemon,
        records=alert_records(machine.dir),
        silent=silent,
    )


class _Twice:
    """Writes what is said of alerts into the mail log, or whatever log a daemon has, and into the system log."""

    def __init__(self, log: Log, machine: Machine) -> None:
        self._log = log
        self._machine = machine

    def info(self, text: str) -> None:
        self._log.info(text)
        self._machine.note(text)

    def warning(self, text: str) -> None:
        self._log.warning(text)
        self._machine.note(text)

    def critical(self, text: str) -> None:
        self._log.critical(text)
        self._machine.note(text)


def names_verbs(resolver: Resolver, hostname: str) -> dict[str, Verb]:
    """Give the control verbs about names: `dns_flush` forgets what name servers have said, `dns_probe` asks one now."""

    async def flush(_: dict[str, Any]) -> dict[str, Any]:
        return {"flushed": resolver.flush()}

    async def probe(_: dict[str, Any]) -> dict[str, Any]:
        return {"problem": await resolver.probe(hostname)}

    return {"dns_flush": flush, "dns_probe": probe}


def alarm_of(alerts: Alerts, kind: str) -> Callable[[str], None]:
    """Make every critical line of a log an alert; lines that begin alike count as the same."""

    def alarm(text: str) -> None:
        alerts.send(CRITICAL, kind, text, about=text[:_ALIKE])

    return alarm


def following(alerts: Alerts, *resolvers: Resolver) -> Part:
    """Have alerts and resolvers go by what another document of the machine says of them."""

    async def prepare(candidate: Machine) -> Prepared:
        document = candidate.document

        def apply() -> None:
            alerts.adopt(document.alerts, document.alert_recipient)
            for one in {alerts.resolver, *resolvers}:
                one.follow(document.dns)

        return Prepared(prompt(apply))

    return prepare


def direct_path(machine: Machine, log: Log | None, tables: Mapping[str, Any]) -> DirectPath:
    """Build the way of mail past the queue that plain tables of a configuration describe. Raises `ConfigError`."""
    said = alerting_of(tables, str(machine.config))
    resolver = resolver_of(said.dns)
    return DirectPath(said.alerts, hostname=machine.hostname, resolver=resolver, log=log)
