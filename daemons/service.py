"""What the console hands to the service account: its sessions, its logs, alerts, and the way to end remote access."""

from typing import Any

from core.alert.alerts import Alerts
from core.alert.kind import CRITICAL
from core.control import call
from core.maillog import MailLog
from daemons.config import Appliance
from daemons.machine import Machine
from ops.cli.account import Role
from ops.cli.server import ConsoleServer
from ops.cli.sessions import Sessions
from tunnel.identity import SERVICE_USER
from tunnel.service.endpoint import ServiceSide, build_endpoint
from tunnel.service.live import FILES, HOP, SHELL, Live
from tunnel.service.notice import Surroundings

GIVEN_UP = "REMOTE.LOGIN_FAILURES"
OTHERS = frozenset({SHELL, FILES, HOP})
"""Support sessions that are not the console's own."""


def service_side(
    machine: Machine, document: Appliance, server: ConsoleServer, sessions: Sessions, log: MailLog, *, alerts: Alerts
) -> ServiceSide:
    """Build the service account of an appliance."""

    async def disable() -> Any:
        return await call(machine.socket("tunnel-client"), "techsupport_disable")

    around = Surroundings(
        session=server.service_session,
        tell=sessions.announce,
        log=log.info,
        alert=lambda text: alerts.send(CRITICAL, GIVEN_UP, text),
        disable=disable,
    )
    side = build_endpoint(document.tunnel, machine.serial, machine.dir, around)
    sessions.others = lambda: [_shown(one) for one in side.desk.live.values() if one.plan.kind in OTHERS]
    return side


def _shown(live: Live) -> dict[str, Any]:
    """Say who this is in the form of `who`."""
    return {
        "user": SERVICE_USER,
        "role": str(Role.SUPPORT),
        "identity": live.login.key_id,
        "source": live.login.over,
        "since_at": live.since_at,
        "idle_s": live.idle_s,
        "what": live.plan.kind,
    }
