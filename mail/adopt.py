"""Journals whose gateway went for good while others go on: a sibling that remains adopts them.

What was accepted there and has no outcome would wait for the next start of a gateway, and nothing would be reclaimed.
A journal counts as left when two looks in a row find it without an owner: a gateway that is only being restarted
comes back in between and takes its own. The gateway's root runs one `Adoption`; it knows no directory and no lock,
`left` and `take` do (core/journal/adopt.py). Logs what it adopts; what fails is tried at the next look.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from core.errors import GatepostError
from core.journal.error import JournalError
from core.journal.journal import Journal
from core.lifecycle import Scope, Service
from core.maillog import MailLog, clean
from mail.intake import Intake
from mail.recover import Recovery

LOOK_S = 30.0


class Adoption:
    """The service."""

    name = "adoption"

    def __init__(
        self,
        left: Callable[[], set[Path]],
        take: Callable[[Path], Journal],
        intake: Callable[[Journal], Intake],
        work_queue: Callable[[Intake, Journal], Service],
        *,
        log: MailLog,
        look_s: float = LOOK_S,
    ) -> None:
        """`left` gives the journals without an owner, `take` opens one; both may block.

        `work_queue` makes the service that runs what a paused work queue held back.
        """
        self._left = left
        self._take = take
        self._intake = intake
        self._work_queue = work_queue
        self._log = log
        self._look_s = look_s

    async def run(self, scope: Scope) -> None:
        """Look now and then, until stopping."""
        scope.ready()
        before: set[Path] = set()
        while await scope.pause(self._look_s):
            try:
                found = await asyncio.to_thread(self._left)
                for directory in sorted(found & before):
                    await self._adopt(directory, scope)
            except (OSError, JournalError, GatepostError) as error:
                self._log.warning(f"A journal without an owner cannot be adopted: {clean(str(error))}")
                continue
            before = found

    async def _adopt(self, directory: Path, scope: Scope) -> None:
        journal = await asyncio.to_thread(self._take, directory)
        self._log.warning(f"Journal {directory.name} is adopted: its gateway is gone")
        scope.start(journal.run(scope), name=journal.name)
        intake = self._intake(journal)
        for part in (
            self._work_queue(intake, journal),
            Recovery(journal.recovered, intake, self._log, f"recovery {directory.name}"),
        ):
            scope.start(part.run(scope), name=part.name)
