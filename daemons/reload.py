"""Reading a configuration again while the daemon runs: all of it or nothing.

The roots' `reload` calls `reread` first. Where anything is wrong the mail log has a line for each fault, the daemon
goes on with what it has, and `core/runtime.py` says so on stderr.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from core.errors import ConfigError, Problem
from core.maillog import MailLog, clean
from daemons.config import Document
from daemons.machine import Machine

_T = TypeVar("_T")


async def reread(machine: Machine, log: MailLog, who: str, build: Callable[[Document], _T]) -> _T:
    """Read and check a machine's document and build something of it, off the loop: large tables take seconds.

    Raises `ConfigError` with every fault, after logging each; `who` names the daemon in these lines.
    """

    def read() -> _T:
        document = Machine.open(machine.config).document
        if document.appliance.role != machine.role:
            raise ConfigError([Problem(str(machine.config), "appliance.role", "a running machine keeps its role")])
        return build(document)

    try:
        return await asyncio.to_thread(read)
    except ConfigError as error:
        refuse(log, f"{who}: Configuration", error.problems)


def refuse(log: MailLog, what: str, problems: Sequence[Problem]) -> NoReturn:
    """Log each fault and raise `ConfigError`."""
    for problem in problems:
        log.warning(f"{what} not reloaded: {clean(str(problem))}")
    raise ConfigError(problems)
