"""Users and their log-ins: `userconfig`, `passwd`, `totp`, `who`, `whoami`, `last`, `sshconfig`."""

from ops.cli.commands.access.own import COMMANDS as OWN
from ops.cli.commands.access.seen import COMMANDS as SEEN
from ops.cli.commands.access.ssh import COMMANDS as SSH
from ops.cli.commands.access.user import COMMANDS as USER
from ops.cli.commands.access.user_menu import userconfig

COMMANDS = (userconfig, *USER, *OWN, *SEEN, *SSH)
"""For the registry."""
