"""console: operator commands over SSH, and the same on the machine itself (`gatepost cli`).

Listens on [console] (users, and the paired management host's command client), on
run/console-service.sock (support sessions that come through the tunnel), and on run/console.sock (`service_*`).
Asks the other daemons over their control sockets; keeps the CLI audit log and the record of log-ins.
"""

from pathlib import Path

from core.control import Handler
from core.given import given_or
from core.lifecycle import Service
from core.runtime import Daemon
from core.ssh import key as ssh_key
from core.switch import Prepared, prompt
from daemons.access import door_of, gate_of, settings_of
from daemons.config import Appliance as ApplianceDocument
from daemons.files import files_of
from daemons.in_force import configuration_watch
from daemons.machine import Machine
from daemons.operator import appliance_of, audit_log
from daemons.reload import switch_of
from daemons.service import service_side
from daemons.upkeep import Upkeep
from ops.access.gate import terms_of
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.guard import FRONT
from ops.cli.server import ConsoleServer
from ops.cli.sessions import Sessions
from ops.status_log import StatusLog


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = Machine.open(config)
    document, section = machine.document, machine.document.console
    log, sessions = audit_log(machine), Sessions()
    gate = gate_of(machine, log, FRONT)
    appliance = appliance_of(machine, sessions, log, gate.records)
    executor = Executor(registry(appliance.schema), appliance, log)
    host_key = ssh_key.read_key(given_or(machine.keys / "host_ed25519"))
    server = ConsoleServer(
        executor,
        settings_of(machine),
        host_key,
        door=door_of(machine),
        gate=gate,
        audit=log,
        sessions=sessions,
        files=files_of(machine, log),
    )
    upkeep = Upkeep(machine, log)
    services: list[Service] = [log, gate.records, *upkeep.services]
    verbs: dict[str, Handler] = {}
    door = None
    if isinstance(document, ApplianceDocument) and section.service:
        support = service_side(machine, document, server, sessions, log, alerts=upkeep.alerts)
        services += support.services
        verbs.update(support.verbs)
        door = support.door(document.tunnel.hop_sources) if document.tunnel.hop_sources else None
    services += [server.listener(door), upkeep.log_keeper()]
    services.append(configuration_watch(machine, appliance.committer(), log, sessions.announce))
    if section.status_log_s and machine.role != "bastion":
        status_log = machine.log("status")
        services += [status_log, StatusLog(appliance_of(machine, sessions), status_log, section.status_log_s)]

    async def prepare(candidate: Machine) -> Prepared:
        settings, found, terms = settings_of(candidate), door_of(candidate), terms_of(candidate.document.login)

        def apply() -> None:
            gate.terms = terms
            server.follow(settings, found)

        return Prepared(prompt(apply))

    switch = switch_of(machine, "console", log.warning, prepare, upkeep.prepare)
    grace_s = document.runtime.grace_s
    return Daemon("console", services, machine.socket("console"), verbs, grace_s, switch, look_again_s=10.0)
