"""The roles of machines, and what belongs to each, daemons and keys: the one list of them.

Used by the executable, by whoever asks or starts all daemons of a machine, by `init` and `check`, and by the lab.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

DaemonName = Literal[
    "gateway", "cpq-listener", "delivery-queue", "release-host", "tunnel-client", "bastion", "keyd", "console", "web"
]
DAEMONS: Final[tuple[str, ...]] = get_args(DaemonName)
ON: Final[Mapping[str, tuple[str, ...]]] = {
    "esa": ("gateway", "cpq-listener", "delivery-queue", "tunnel-client", "console", "web"),
    "sma": ("cpq-listener", "delivery-queue", "release-host", "tunnel-client", "console", "web"),
    "bastion": ("bastion", "keyd", "console", "web"),
}
"""The daemons of each role; of the gateway several processes may run."""
SSH_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "esa": ("host", "tunnel"),
    "sma": ("host", "tunnel", "command_client"),
    "bastion": ("host", "bastion_host"),
}
"""The private keys of a machine of each role that its daemons cannot do without: `keys/NAME_ed25519`."""


def roles_of(daemon: str) -> tuple[str, ...]:
    """Give the roles of the machines that a daemon belongs on."""
    return tuple(role for role, daemons in ON.items() if daemon in daemons)
