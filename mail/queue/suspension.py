"""Why deliveries are stopped as a whole: an operator's `suspenddel`, kept over restarts, or a done log that cannot
be written.

Used by the control verbs and by the settlement. Raises `GatepostError` as core/suspension.py does.
"""

from pathlib import Path

from core.suspension import Suspended
from mail.queue.rule import halt
from mail.queue.schedule import Scheduler

DELIVERY = "delivery"
SUSPENDED = "delivery is suspended: resume with resumedel"


class Suspension:
    """The two reasons, and the scheduler told of them."""

    def __init__(self, path: Path, scheduler: Scheduler) -> None:
        self._orders = Suspended(path)
        self._scheduler = scheduler
        self._broken = ""

    @property
    def suspended(self) -> bool:
        """Whether an operator has suspended delivery."""
        return DELIVERY in self._orders

    def restore(self) -> None:
        """Take up the order that was in force when the daemon ended."""
        self._tell()

    def order(self, suspended: bool) -> None:
        """Suspend or resume, durably; blocking for a moment."""
        (self._orders.suspend if suspended else self._orders.resume)([DELIVERY])
        self._tell()

    def broken(self, why: str) -> None:
        """Stop while removals cannot be recorded; '' when they can again."""
        self._broken = why
        self._tell()

    def _tell(self) -> None:
        halt(self._scheduler, self._broken or (SUSPENDED if self.suspended else ""))
