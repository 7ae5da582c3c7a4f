"""What the console hands to the service account: its sessions, its logs, alerts, and the way to end remote access."""

from typing import Any

from core.alert import CRITICAL, Alerts
from core.control import call
from core.dns import Resolver
from core.maillog import MailLog
from daemons.config import Appliance
from daemons.machine import Machine
from ops.cli.server import ConsoleServer, Sessions
from tunnel.service.endpoint import ServiceSide, Surroundings, build_endpoint

GIVEN_UP = "REMOTE.LOGIN_FAILURES"


def service_side(
    machine: Machine, document: Appliance, server: ConsoleServer, sessions: Sessions, log: MailLog
) -> tuple[ServiceSide, Alerts]:
    """Build the service account of an appliance, and the alerts that it sends."""
    resolver = Resolver(document.dns.servers, timeout_s=document.dns.timeout_s)
    alerts = Alerts(document.alerts, hostname=machine.hostname, resolver=resolver, log=log)

    async def disable() -> Any:
        return await call(machine.socket("tunnel-client"), "techsupport_disable")

    around = Surroundings(
        session=server.service_session,
        tell=sessions.announce,
        log=log.info,
        alert=lambda text: alerts.send(CRITICAL, GIVEN_UP, text),
        disable=disable,
    )
    return build_endpoint(document.tunnel, machine.serial, machine.dir, around), alerts
