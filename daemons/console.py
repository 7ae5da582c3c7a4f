"""console: operator commands over SSH, and the same on the machine itself (`gatepost cli`).

Listens on [console] (users and the paired management host's command client, by public key), on
run/console-service.sock (support sessions that come through the tunnel), and on run/console.sock (`service_*`).
Asks the other daemons over their control sockets; keeps the CLI audit log.
"""

from collections.abc import Sequence
from pathlib import Path

from core.control import Handler
from core.lifecycle import Service
from core.runtime import Daemon
from core.ssh import key as ssh_key
from cpq.pair import COMMAND_USER, LISTENER_COMMAND
from daemons.config import Appliance as ApplianceDocument
from daemons.machine import Machine
from daemons.operator import appliance_of, audit_log
from daemons.reload import switch_of
from daemons.service import service_side
from ops.cli.account import Account, Role, account_book
from ops.cli.commands import registry
from ops.cli.execute import Executor
from ops.cli.server import ConsoleServer, ConsoleSettings, Sessions
from ops.status_log import StatusLog


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = Machine.open(config)
    document, pairings = machine.document, machine.pairings()
    log, sessions = audit_log(machine), Sessions()
    executor = Executor(registry(), appliance_of(machine, sessions, log), log)
    users = [Account(user.name, Role(user.role), user.keys, _commands(user.commands)) for user in document.user]
    command = LISTENER_COMMAND.removesuffix(" --json")
    book = account_book(users, COMMAND_USER, lambda: [one.command_key for one in pairings.all()], [command])
    section = document.console
    settings = ConsoleSettings(
        section.address,
        section.port,
        section.idle_s,
        section.login_timeout_s,
        section.connections,
        section.connections_per_source,
    )
    host_key = ssh_key.read_key(machine.keys / "host_ed25519")
    server = ConsoleServer(executor, settings, host_key, accounts=book, audit=log, sessions=sessions)
    services: list[Service] = [log]
    verbs: dict[str, Handler] = {}
    door = None
    if isinstance(document, ApplianceDocument) and section.service:
        support, alerts = service_side(machine, document, server, sessions, log)
        services += [*support.services, alerts]
        verbs.update(support.verbs)
        door = support.door(document.tunnel.hop_sources) if document.tunnel.hop_sources else None
    services.append(server.listener(door))
    if section.status_log_s and machine.role != "bastion":
        status_log = machine.log("status")
        services += [status_log, StatusLog(appliance_of(machine, sessions), status_log, section.status_log_s)]
    switch = switch_of(machine, "console", log.warning)
    grace_s = document.runtime.grace_s
    return Daemon("console", services, machine.socket("console"), verbs, grace_s, switch)


def _commands(names: Sequence[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
