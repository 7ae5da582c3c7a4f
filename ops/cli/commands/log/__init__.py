"""Logs as an operator reads them: `grep`, `tail`, `findevent`, `rollovernow`."""

from ops.cli.commands.log import event, following, rollover, searching

COMMANDS = (*searching.COMMANDS, *following.COMMANDS, *event.COMMANDS, *rollover.COMMANDS)
