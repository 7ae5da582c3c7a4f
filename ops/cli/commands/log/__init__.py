"""Logs as an operator reads and sets them: `grep`, `tail`, `findevent`, `rollovernow`, `logconfig`."""

from ops.cli.commands.log import event, following, rollover, searching, subscription

COMMANDS = (*searching.COMMANDS, *following.COMMANDS, *event.COMMANDS, *rollover.COMMANDS, *subscription.COMMANDS)
EDITED = subscription.EDITED
