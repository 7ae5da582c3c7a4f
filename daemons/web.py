"""web: the machine's figures over HTTPS, `/xml/status` and `/metrics`, for users that have a password; on [health] in
the clear and without log-in `/healthz`, `/readyz` and `/metrics`.

Listens on [web] with the certificate keys/tls.crt, on [health], and on run/web.sock. Asks the other daemons over their
control sockets; locks and the record of log-ins are those of the console, failures go to the CLI audit log. SIGHUP
reads the certificate and the users again, a commit brings the users and the health port.
"""

from pathlib import Path

from core.http import HttpServer
from core.lifecycle import Service
from core.runtime import Daemon
from core.switch import Prepared, prompt
from daemons.access import accounts_of, gate_of
from daemons.machine import Machine
from daemons.operator import appliance_of, audit_log
from daemons.reload import switch_of
from daemons.watched import Watched
from ops.access.gate import terms_of
from ops.cli.sessions import Sessions
from ops.web.application import build as build_application
from ops.web.login import FRONT, Logins


def build(config: Path) -> Daemon:
    """Wire the daemon. Raises `ConfigError` before any socket opens."""
    machine = Machine.open(config)
    document, log, certificate = machine.document, audit_log(machine), machine.certificate(https=True)
    users = {user.name: user for user in accounts_of(document)}
    gate = gate_of(machine, log, FRONT)
    watched = Watched(machine, appliance_of(machine, Sessions()))
    application = build_application(watched.appliance, watched.metrics, Logins(users, gate))
    server = HttpServer(application, document.web.address, document.web.port, tls=certificate.context)

    async def certificates() -> None:
        certificate.reload()

    async def prepare(candidate: Machine) -> Prepared:
        found, terms = accounts_of(candidate.document), terms_of(candidate.document.login)
        fresh = candidate.certificate(https=True)

        def apply() -> None:
            users.clear()
            users.update({user.name: user for user in found})
            gate.terms = terms
            certificate.adopt(fresh)
            server.speak(candidate.document.tls.gui)

        return Prepared(prompt(apply))

    switch = switch_of(machine, "web", log.warning, prepare, watched.prepare, also=certificates)
    services: list[Service] = [log, gate.records, server, watched.port]
    return Daemon("web", services, machine.socket("web"), {}, document.runtime.grace_s, switch)
