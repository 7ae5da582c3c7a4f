"""keyd: holds the support keys, both authorities and the recording key; derives and signs for the bastion.

Listens on run/keyd.sock, where the users of `[keyd] clients` (by default the machine's owner) may ask and its own. Owns
the folder keyd/, which nobody else reads; it is meant to run as a user of its own, who reads gatepost.toml and that
folder.
"""

import os
import pwd
from functools import partial
from pathlib import Path
from typing import cast

from core.control import Guests
from core.diagnostic import WARNING, say
from core.errors import ConfigError, Problem
from core.runtime import Daemon
from daemons import config as documents
from daemons.machine import Machine
from daemons.owner import owner_of
from daemons.reload import switch_of
from tunnel.config import KeydSection
from tunnel.keyd.api import GUEST_VERBS
from tunnel.keyd.keyring import FOLDER, adopt
from tunnel.keyd.server import KeydServer


def build(config: Path) -> Daemon:
    """Wire the daemon."""
    machine = Machine.open(config)
    document = cast(documents.Bastion, machine.document)
    guests = Guests(frozenset(guests_of(config, document.keyd)), GUEST_VERBS)
    folder = machine.dir / FOLDER
    adopt(machine.keys, folder)
    server = KeydServer(folder, document.keyd, document.bastion.names)
    switch, grace_s = switch_of(machine, "keyd", partial(say, WARNING)), document.runtime.grace_s
    return Daemon("keyd", [server], machine.socket("keyd"), server.verbs, grace_s, switch, guests)


def guests_of(config: Path, section: KeydSection) -> list[int]:
    """Give the user ids that may ask. Raises `ConfigError` for a name that this machine does not know."""
    if not section.clients:
        return [uid for uid in (owner_of(config),) if uid != os.geteuid()]
    try:
        return [pwd.getpwnam(name).pw_uid for name in section.clients]
    except KeyError as error:
        problem = Problem(str(config), "keyd.clients", f"{error.args[0]}; name users of this machine")
        raise ConfigError([problem]) from None
