"""What a crash left: messages that were accepted and have no outcome yet go through the pipeline again.

The owner of a journal runs this once after opening it, beside its listeners; each message is read off the loop, so a
long list holds nobody up. A message whose content cannot be read stays where it is and is reported: it is tried again
at the next start.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from core.content import HEAD_BYTES
from core.journal.entry import Recovered, read_content
from core.journal.error import JournalError
from core.lifecycle import Scope
from core.maillog import MailLog, clean
from core.record import decode_accepted
from mail.intake import Intake
from mail.mime import Headers
from mail.pipeline import Readable


class Recovery:
    """A service that works through `journal.recovered` and is ready at once."""

    def __init__(self, entries: Sequence[Recovered], intake: Intake, log: MailLog, name: str = "recovery") -> None:
        self.name = name
        self._entries = entries
        self._intake = intake
        self._log = log

    async def run(self, scope: Scope) -> None:
        """Run every message again, oldest first, until done or stopping."""
        scope.ready()
        if self._intake.paused():
            self._intake.held |= dict.fromkeys(entry.mid for entry in self._entries)
            self._entries = ()
        if self._entries:
            self._log.info(f"{len(self._entries)} accepted messages go through the work queue again")
        for entry in self._entries:
            if scope.stopping.is_set():
                return
            with scope.activity("recovery"):
                await self._again(entry)

    async def _again(self, entry: Recovered) -> None:
        try:
            accepted = decode_accepted(entry.accepted)
            data = await asyncio.to_thread(read_content, entry.content)
        except (OSError, JournalError, msgspec.DecodeError) as error:
            self._log.critical(f"MID {entry.mid} cannot be read again: {clean(str(error))}")
            return
        headers = Headers(data[:HEAD_BYTES] if len(data) > HEAD_BYTES else data)
        await self._intake.work(accepted, Readable(headers, lambda: data))
