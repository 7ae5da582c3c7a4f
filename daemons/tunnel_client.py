"""tunnel-client: the reverse SSH tunnel to the bastion, dialled only while an operator has enabled it.

Listens on run/tunnel-client.sock: `techsupport_status`, `techsupport_enable`, `techsupport_disable`,
`techsupport_probe`. Dials out by host name; carries channels to run/console-service.sock, where the console ends the
engineer's SSH session itself.
"""

from pathlib import Path
from typing import cast

from core.alert.kind import WARNING
from core.dns import resolver_of
from core.lifecycle import Service
from core.runtime import Daemon
from daemons.alerting import alerts_of, following, names_verbs
from daemons.config import Appliance
from daemons.formats import release
from daemons.machine import machine_for
from daemons.reload import switch_of
from tunnel.appliance.assembly import Whose, build_client


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = machine_for("tunnel-client", config, ("esa", "sma"))
    document = cast(Appliance, machine.document)
    log = machine.mail_log()
    names = resolver_of(document.dns)
    alerts = alerts_of(machine, document, "tunnel-client", log, names)

    def warn(text: str) -> None:
        log.warning(text)
        alerts.send(WARNING, "SUPPORT.ACCESS", text)

    whose = Whose(machine.serial, machine.role, machine.dir, release())
    client = build_client(document.tunnel, whose, names, log.info, warn=warn)
    verbs = {
        "techsupport_status": client.status,
        "techsupport_enable": client.enable,
        "techsupport_disable": client.disable,
        "techsupport_probe": client.probe,
        **names_verbs(names, machine.hostname),
    }
    services: list[Service] = [log, alerts, client]
    switch = switch_of(machine, "tunnel-client", log.warning, following(alerts))
    grace_s = document.runtime.grace_s
    return Daemon("tunnel-client", services, machine.socket("tunnel-client"), verbs, grace_s, switch)
