"""tunnel-client: the reverse SSH tunnel to the bastion, dialled only while an operator has enabled it.

Listens on run/tunnel-client.sock: `techsupport_status`, `techsupport_enable`, `techsupport_disable`. Dials out by host
name; carries channels to run/console-service.sock, where the console ends the engineer's SSH session itself.
"""

from pathlib import Path
from typing import cast

from core.dns import Resolver
from core.lifecycle import Service
from core.runtime import Daemon
from daemons.config import Appliance
from daemons.machine import Machine
from tunnel.appliance.client import build_client


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = Machine.open(config)
    document = cast(Appliance, machine.document)
    log = machine.mail_log()
    names = Resolver(document.dns.servers, timeout_s=document.dns.timeout_s)
    client = build_client(document.tunnel, machine.serial, machine.dir, names, log.info)
    verbs = {
        "techsupport_status": client.status,
        "techsupport_enable": client.enable,
        "techsupport_disable": client.disable,
    }
    services: list[Service] = [log, client]
    return Daemon("tunnel-client", services, machine.socket("tunnel-client"), verbs, document.runtime.grace_s)
