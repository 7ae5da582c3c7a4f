"""From the journals into memory: every durable message with an outcome, once.

The service reads all journals under `spool/journal`, new ones as they appear, when their writers poke it and now and
then anyway. Where reading has come to (`positions`) goes into the index with the same transaction as what was read.
A message whose recipients the done log knows as finished is not taken again. Blocking reads are short: what was just
written is in the system's memory.

Logs damage as critical and goes on with the other journals; the damaged one is left as it is, never acknowledged. One
that cannot be opened or read at the moment (no descriptors, an I/O error) is tried again.
"""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from core.clock import monotonic
from core.format import FormatRefused
from core.journal import Entry, JournalDamaged, Position, Tail
from core.lifecycle import Scope
from core.maillog import Log
from core.record import Recipient, decode_accepted, decode_outcome
from mail.queue.book import Book
from mail.queue.message import Message

READ_BYTES = 64 * 1024
SLICE_S = 0.004
"""Longest time that is read without letting others run; the last piece may exceed it."""
POLL_S = 1.0
HOLD_S = 0.01


Admit = Callable[[Message, list[Recipient]], None]
"""Puts a new message's recipients where they belong."""


class Importer:
    """Reads the journals."""

    name = "import"

    def __init__(
        self,
        journals: Path,
        book: Book,
        *,
        admit: Admit,
        enough: Callable[[], bool],
        log: Log,
        positions: dict[str, tuple[int, int]],
        done: dict[int, set[int]],
    ) -> None:
        """`enough`: memory holds what can be delivered soon, and the rest is as well off in its journal.

        `positions` and `done` are what the index and the done log said at the start.
        """
        self.caught_up = False
        """Everything that was in the journals at the start has been read: `done` is of no more use."""
        self.damaged: dict[str, str] = {}
        """Why a journal is not read on, by name."""
        self.unreadable: dict[str, str] = {}
        """Why a journal could not be read the last time; it is tried again."""
        self._journals = journals
        self._book = book
        self._admit = admit
        self._enough = enough
        self._log = log
        self._stored = positions
        self._done = done
        self._tails: dict[str, Tail] = {}
        self._woken = asyncio.Event()

    def poke(self, name: str = "") -> None:
        """Look for news soon; `name` is the journal's, for its writer's convenience only."""
        self._woken.set()

    def positions(self) -> list[tuple[str, int, int]]:
        """Give (journal, generation, offset) up to where everything was taken in."""
        return [(name, *tail.position) for name, tail in self._tails.items()]

    def acknowledgeable(self) -> dict[str, int]:
        """Give, by journal, the newest generation that was read whole."""
        found: dict[str, int] = {}
        for name, tail in self._tails.items():
            if self._whole(name):
                # What cannot be looked at now is not acknowledged.
                with contextlib.suppress(OSError, JournalDamaged, FormatRefused):
                    found[name] = tail.acknowledgeable()
        return found

    def _whole(self, name: str) -> bool:
        return name not in self.damaged and name not in self.unreadable

    async def run(self, scope: Scope) -> None:
        """Read until stopping."""
        self.discover()
        scope.start(self._look_around(scope), name="look for journals")
        while not scope.stopping.is_set():
            self._woken.clear()
            if not self._book.room or self._enough():
                await scope.pause(HOLD_S)
            elif self._read_on():
                await asyncio.sleep(0)
            else:
                await self._woken.wait()

    def _read_on(self) -> bool:
        """Read for a slice of time, as far as there is room; false if there was nothing."""
        until, found = monotonic() + SLICE_S, False
        while self._book.room and self.read():
            found = True
            if monotonic() >= until:
                break
        return found

    async def _look_around(self, scope: Scope) -> None:
        """Now and then look for journals that are new and for news whose poke was lost; at the stop wake `run`."""
        while await scope.pause(POLL_S):
            with contextlib.suppress(OSError):  # no descriptor left, for one: the next look finds it
                self.discover()
            self._woken.set()
        self._woken.set()

    def discover(self) -> None:
        """Open journals that are new."""
        try:
            names = sorted(path.name for path in self._journals.iterdir() if path.is_dir())
        except FileNotFoundError:
            return
        for name in names:
            if name not in self._tails:
                self._tails[name] = Tail(self._journals / name, Position(*self._stored.get(name, (0, 0))))

    def read(self) -> bool:
        """Take in some of what is new, a piece of each journal; false if there was nothing."""
        found = False
        for name, tail in self._tails.items():
            if name in self.damaged:
                continue
            before = tail.position
            with self._book.one_step():  # the tail has gone on: what is not taken now is taken after a restart only
                for entry in self._entries(name, tail):
                    self._take(name, entry)
            found = found or tail.position != before
        if not found and not self.unreadable:
            self.caught_up = True
            self._done.clear()
        return found

    def _entries(self, name: str, tail: Tail) -> list[Entry]:
        """Read on in a journal; a fault of the moment is tried again, damage is not."""
        gaps = tail.gaps
        try:
            entries = tail.read(READ_BYTES)
        except (JournalDamaged, FormatRefused) as error:  # what is left there waits for the release that can read it
            self.damaged[name] = str(error)
            self._log.critical(f"Journal {name} cannot be read on: {error}")
            return []
        except OSError as error:
            if name not in self.unreadable:
                self._log.critical(f"Journal {name} cannot be read now: {error}")
            self.unreadable[name] = str(error)
            return []
        if self.unreadable.pop(name, ""):
            self._log.warning(f"Journal {name} can be read again")
        if tail.gaps > gaps:
            where = f"before octet {tail.position.offset} of segment {tail.position.generation}"
            self._log.critical(
                f"Journal {name} holds {tail.gaps - gaps} places {where} that are no messages: unless a power cut tore"
                " them before their 250, messages are lost"
            )
        return entries

    def _take(self, name: str, entry: Entry) -> None:
        segment = (name, entry.content.generation)
        if entry.mid in self._book.messages:
            self._book.segments[segment] += 1
            self._log.critical(f"MID {entry.mid} in journal {name} has the number of another message: left there")
            return
        try:
            accepted, outcome = decode_accepted(entry.accepted), decode_outcome(entry.outcome)
        except msgspec.MsgspecError as error:
            # Never acknowledged: the segment stays for whoever repairs it.
            self._book.segments[segment] += 1
            self._log.critical(f"MID {entry.mid} in journal {name} cannot be read and is left there: {error}")
            return
        recipients = outcome.recipients or accepted.recipients
        if self._done:
            finished = self._done.get(entry.mid, set())
            recipients = [recipient for recipient in recipients if recipient.rid not in finished]
        if not recipients:
            return
        message = Message(accepted, outcome, entry.content, segment, stored=False)
        message.documents = (entry.accepted, entry.outcome)
        self._book.add(message)
        self._book.keep_content(message, entry.data)
        self._admit(message, recipients)
