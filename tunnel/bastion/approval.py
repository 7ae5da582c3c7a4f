"""Who approves that an engineer works on a case: a second person (in the store), a command, or nobody.

Asked for each session and, for what is open, again and again. A session that has no approval yet is held for a while,
so that a second person or the customer may still give it; so many at once in all and from one source. A login is not
held: its time is short, and whoever is refused in it gets no line. Whoever was let in once by a certificate is not held
again: what takes the approval away takes it away at once.

The command gets one JSON document on standard input; exit status 0 means yes, and the first line that it prints is
the reason of a no. Yes holds for the certificate that it was given for.
"""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from core import clock
from core.diagnostic import WARNING, say
from tunnel.audit import AuditLog
from tunnel.bastion.store import Case
from tunnel.config import CaseSection
from tunnel.identity import Engineer

_LOOK_S = 1.0
_REMEMBERED = 4096
_MOST_OUTPUT = 4096


class Cases(Protocol):
    """What is needed of the store."""

    async def get(self, number: str) -> Case | None:
        """Give a case."""


class Approvals:
    """Says of a case and an engineer why work on it is not approved."""

    def __init__(
        self, section: CaseSection, cases: Cases, audit: AuditLog, *, now: Callable[[], float] = clock.now
    ) -> None:
        self._section = section
        self._cases = cases
        self._audit = audit
        self._now = now
        self._given: dict[tuple[str, str], None] = {}
        """Certificates and cases that were let in, the oldest first."""
        self._waiting: Counter[str] = Counter()

    async def why_not(self, case: Case, engineer: Engineer, source: str, hold: bool) -> str:
        """Give '' if the work is approved, otherwise one line for the engineer.

        With `hold` it may wait for the approval as long as is configured; without, what would have to wait is no no.
        """
        if self._section.approval == "none":
            return ""
        known = (engineer.key_id, case.number) in self._given
        if not hold and not known:
            return ""
        if self._section.approval == "second-person":
            if case.approved_at:
                self._remember(engineer, case)
                return ""
            asked = self._second_person(case)
        elif known:
            return ""
        else:
            asked = self._command(case, engineer, source)
        if known:
            asked.close()
            self._given.pop((engineer.key_id, case.number), None)
            return f"the approval of case {case.number} was taken away; {_remedy(case)}"
        return await self._held(asked, case, engineer, source)

    async def _held(self, asked: Any, case: Case, engineer: Engineer, source: str) -> str:
        """Wait for an answer within the limits."""
        with self._place(source) as free:
            if not free:
                asked.close()
                return "too many wait for an approval already; try again later"
            self._audit.note("approval-wait", key_id=engineer.key_id, case=case.number, source=source)
            try:
                async with asyncio.timeout(self._section.approval_wait_s):
                    why: str = await asked
            except TimeoutError:
                why = f"nobody has approved case {case.number} in {self._section.approval_wait_s:g} s; {_remedy(case)}"
        self._audit.note("approval", key_id=engineer.key_id, case=case.number, given=not why, why=why)
        if not why:
            self._remember(engineer, case)
        return why

    @contextmanager
    def _place(self, source: str) -> Iterator[bool]:
        """Take a place among those who wait; false if there is none."""
        section = self._section
        free = self._waiting.total() < section.approvals_waiting
        if not free or self._waiting[source] >= section.approvals_waiting_per_source:
            yield False
            return
        self._waiting[source] += 1
        try:
            yield True
        finally:
            self._waiting[source] -= 1
            if not self._waiting[source]:
                del self._waiting[source]

    def _remember(self, engineer: Engineer, case: Case) -> None:
        self._given[engineer.key_id, case.number] = None
        while len(self._given) > _REMEMBERED:
            del self._given[next(iter(self._given))]

    async def _second_person(self, case: Case) -> str:
        """Look until somebody has approved the case or closed it."""
        while True:
            await asyncio.sleep(_LOOK_S)
            found = await self._cases.get(case.number)
            if found is None or found.closed_at:
                return f"case {case.number} is closed"
            if found.approved_at:
                return ""

    async def _command(self, case: Case, engineer: Engineer, source: str) -> str:
        """Run the configured command."""
        document = {
            "engineer": engineer.name,
            "case": case.number,
            "serials": list(engineer.serials),
            "key_id": engineer.key_id,
            "source": source,
            "approved_by": case.approved_by,
            "at": self._now(),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                *self._section.approval_command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            say(WARNING, f"approval_command cannot be run: {error}")
            return "the approval cannot be asked for; tell whoever runs the bastion"
        try:
            answer = await _answer(process, msgspec.json.encode(document) + b"\n")
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode == 0:
            return ""
        return f"the work on case {case.number} was not approved" + (f": {answer}" if answer else "")


async def _answer(process: asyncio.subprocess.Process, document: bytes) -> str:
    """Give the command its document; gives the first line that it says, made fit to be shown."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(ConnectionError):  # it need not read what it is told
        process.stdin.write(document)
        process.stdin.close()
    text = b""
    while part := await process.stdout.read(_MOST_OUTPUT):
        text = (text + part)[:_MOST_OUTPUT]
    await process.wait()
    line = text.decode("utf-8", "replace").partition("\n")[0][:200]
    return "".join(letter for letter in line if letter.isprintable())


def waiting(section: CaseSection, number: str) -> str:
    """Say what is waited for, and who can give it."""
    if section.approval == "command":
        return f"waiting until the work on case {number} is approved, {section.approval_wait_s:g} s at most"
    return f"case {number} is not approved: waiting {section.approval_wait_s:g} s at most until {_by_whom(number)}"


def _remedy(case: Case) -> str:
    return _by_whom(case.number)


def _by_whom(number: str) -> str:
    return f"a second person says `gatepost bastion case approve {number} --by NAME`"
