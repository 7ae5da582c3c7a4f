"""bastion: admits appliances that dial in, lets engineers with a certificate through to one of them, records.

Listens on the appliances' ports and on the engineers' address; on run/bastion.sock: `tunnels`, `sessions`, `watch`,
`terminate`, `recheck`, `status`. Owns its store, the audit log and recordings/. No TCP port is opened for a tunnel.
"""

from functools import partial
from pathlib import Path
from typing import cast

from core.diagnostic import WARNING, say
from core.runtime import Daemon
from daemons import config as documents
from daemons.machine import Machine
from daemons.reload import switch_of
from tunnel.bastion.assembly import build_bastion


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = Machine.open(config)
    document = cast(documents.Bastion, machine.document)
    bastion = build_bastion(document.bastion, machine.dir)
    switch, grace_s = switch_of(machine, "bastion", partial(say, WARNING)), document.runtime.grace_s
    return Daemon("bastion", bastion.services, machine.socket("bastion"), bastion.verbs, grace_s, switch)
