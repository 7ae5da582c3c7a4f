"""Why deliveries are stopped as a whole: an operator's `suspenddel`, kept over restarts, or a done log that cannot
be written.

Used by the control verbs and by the settlement. Raises `OSError` when the order cannot be written down.
"""

from pathlib import Path

from core.disk import Disk, read_file, replace_file
from mail.queue.rule import halt
from mail.queue.schedule import Scheduler

SUSPENDED = "delivery is suspended: resume with resumedel"


class Suspension:
    """The two reasons, and the scheduler told of them."""

    def __init__(self, path: Path, scheduler: Scheduler) -> None:
        self.suspended = False
        self._path = path
        self._scheduler = scheduler
        self._broken = ""

    def restore(self) -> None:
        """Take up the order that was in force when the daemon ended."""
        self.suspended = read_file(Disk(), self._path).strip() == b"1"
        self._tell()

    def order(self, suspended: bool) -> None:
        """Suspend or resume, durably; blocking for a moment."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        replace_file(Disk(), self._path, b"1\n" if suspended else b"0\n")
        self.suspended = suspended
        self._tell()

    def broken(self, why: str) -> None:
        """Stop while removals cannot be recorded; '' when they can again."""
        self._broken = why
        self._tell()

    def _tell(self) -> None:
        halt(self._scheduler, self._broken or (SUSPENDED if self.suspended else ""))
