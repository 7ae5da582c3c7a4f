"""web: the machine's figures over HTTPS, `/xml/status` and `/metrics`, for users that have a password.

Listens on [web] with the certificate keys/tls.crt, and on run/web.sock. Asks the other daemons over their control
sockets; failed log-ins go to the CLI audit log. SIGHUP reads the certificate and the users
again, a commit brings the users.
"""

from pathlib import Path

from core.http import HttpServer
from core.lifecycle import Service
from core.password import matches
from core.runtime import Daemon
from core.switch import Prepared, prompt
from daemons.config import Document
from daemons.machine import Machine
from daemons.operator import appliance_of, audit_log
from daemons.reload import switch_of
from ops.cli.account import Role
from ops.cli.server import Sessions
from ops.web.application import build as build_application
from ops.web.login import Logins, WebUser


def build(config: Path) -> Daemon:
    """Wire the daemon. Raises `ConfigError` before any socket opens."""
    machine = Machine.open(config)
    document, log, certificate = machine.document, audit_log(machine), machine.certificate()
    users = _users(document)
    application = build_application(appliance_of(machine, Sessions()), Logins(users, matches, log.info))
    server = HttpServer(application, document.web.address, document.web.port, tls=certificate.context)

    async def certificates() -> None:
        certificate.reload()

    async def prepare(candidate: Machine) -> Prepared:
        found = _users(candidate.document)

        def apply() -> None:
            users.clear()
            users.update(found)

        return Prepared(prompt(apply))

    switch = switch_of(machine, "web", log.warning, prepare, also=certificates)
    services: list[Service] = [log, server]
    return Daemon("web", services, machine.socket("web"), {}, document.runtime.grace_s, switch)


def _users(document: Document) -> dict[str, WebUser]:
    return {user.name: WebUser(user.name, Role(user.role), user.password) for user in document.user if user.password}
