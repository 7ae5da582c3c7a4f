"""The configuration in force, for commands: read again when its file has changed, by a commit or by hand.

And the console's watch over it: what is not confirmed in time is gone back from, what was broken off is settled.
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core import clock
from core.errors import ConfigError
from core.lifecycle import Service
from core.maillog import MailLog, clean
from daemons.machine import Machine
from ops.configuration.commit import Committer
from ops.configuration.confirm import Watch
from ops.configuration.place import Place


class InForce:
    """The document of a machine as plain tables, with every default."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._mark = _mark(machine.config)
        self._tables: Mapping[str, Any] | None = None

    def __call__(self) -> Mapping[str, Any]:
        """Give the tables; of a file that has become wrong by hand, those that were right before."""
        mark = _mark(self._machine.config)
        if mark != self._mark:
            self._mark = mark
            with contextlib.suppress(ConfigError):  # told by whoever takes the file: a daemon, a commit
                self._machine, self._tables = Machine.open(self._machine.config), None
        if self._tables is None:
            self._tables = self._machine.document.model_dump(mode="json", exclude_none=True)
        return self._tables


def _mark(file: Path) -> tuple[int, int]:
    try:
        facts = file.stat()
    except OSError:
        return (0, 0)
    return facts.st_mtime_ns, facts.st_ino


def configuration_watch(machine: Machine, committer: Committer, log: MailLog, tell: Callable[[str], None]) -> Service:
    """Make the console's watch; `tell` shows a line to the administrators who are logged in."""

    def told(text: str) -> None:
        log.warning(clean(text))
        tell(text)

    return Watch(Place(machine.config), committer.go_back, committer.resume, told, clock.now)
