"""Users and their log-ins: `userconfig`, `passwd`, `totp`, `who`, `whoami`, `last`, `sshconfig`."""

from collections.abc import Sequence
from dataclasses import replace

from ops.cli.appliance import Appliance
from ops.cli.commands.access.own import COMMANDS as OWN
from ops.cli.commands.access.seen import COMMANDS as SEEN
from ops.cli.commands.access.ssh import COMMANDS as SSH
from ops.cli.commands.access.table import users
from ops.cli.commands.access.user import COMMANDS as USER
from ops.cli.commands.access.user_menu import userconfig
from ops.cli.registry import Command

_NAMES_FIRST = frozenset(
    {"userconfig edit", "userconfig delete", "userconfig password", "userconfig unlock"}
    | {"sshconfig userkey list", "sshconfig userkey new", "sshconfig userkey delete"}
)


def _user_names(appliance: Appliance, before: Sequence[str]) -> Sequence[str]:
    """Give the users in force, for completion of the first word."""
    return [] if before else [str(row.get("name", "")) for row in users(appliance.editing("local").in_force())]


def _completed(item: Command) -> Command:
    return replace(item, known=_user_names) if item.name in _NAMES_FIRST else item


COMMANDS = tuple(_completed(item) for item in (userconfig, *USER, *OWN, *SEEN, *SSH))
"""For the registry."""
