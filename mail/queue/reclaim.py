"""Giving journal segments back: what is long deferred moves into the queue's own store, then the segment is let go.

A segment may go when everything in it was imported and nothing unfinished needs its content, both as committed in
the index: the number is then acknowledged, durably, to the journal's owner, who removes or recycles it. What still
needs an old segment is copied to a pack (`queue/content/N.content`, many messages each; spilled content is linked
instead), the pack is synced with its name, the rows follow in the next checkpoint, and only the one after that finds
the segment free. A pack is removed when its last message is finished; packs that no row names are swept at start.

Content is never moved under a reader: a message that is on a connection stays where it is. Logs failures once.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from core.clock import Clock
from core.disk import Disk, share
from core.errors import GatepostError
from core.journal import ContentRef, JournalDamaged, acknowledge, acknowledged, open_content
from core.killpoint import killpoint
from core.lifecycle import Scope
from core.maillog import Log
from core.sqlite import DatabaseThread
from mail.queue.book import Book, Move
from mail.queue.checkpoint import Checkpointer
from mail.queue.message import Segment, moved
from mail.queue.places import Places, segment_of
from mail.queue.store import MessageRow, in_segment

BATCH = 500
PATIENCE_S = 30.0
"""A segment that was read whole is given this long to become free by itself …"""
KEPT_FREE = 0.025
"""Part of the file system that moving content leaves free, half of what the journals leave."""
PRESSING = 4
"""… unless this many segments of its journal wait."""


class Reclaimer:
    """Looks after the segments of all journals and after the packs."""

    name = "reclaim"

    def __init__(
        self,
        database: DatabaseThread,
        book: Book,
        checkpointer: Checkpointer,
        *,
        places: Places,
        log: Log,
        now: Clock,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._database = database
        self._book = book
        self._checkpointer = checkpointer
        self._places = places
        self._log = log
        self._now = now
        self._patience_s = patience_s
        self._acknowledged: dict[str, int] = {}
        self._waiting_since: dict[Segment, float] = {}
        self._failing = ""
        self._short = False
        self._pack = 0

    def sweep(self) -> None:
        """Remove packs that no message needs; blocking, at the start only. Raises `OSError`."""
        self._places.content.mkdir(parents=True, exist_ok=True, mode=0o750)
        for path in self._places.content.iterdir():
            number = int(path.stem) if path.stem.isdigit() else 0
            self._pack = max(self._pack, number)
            if self._book.segments[("", number)] <= 0:
                path.unlink(missing_ok=True)

    async def run(self, scope: Scope) -> None:
        """Look once a second, until stopping."""
        while await scope.pause(1.0):
            await self.turn()

    async def turn(self) -> None:
        """Acknowledge what is free, move what waits for too long, remove empty packs."""
        try:
            await self._remove_packs()
            for journal, upto in sorted(self._checkpointer.acknowledgeable.items()):
                await self._look(journal, upto)
            self._failing = ""
        except (OSError, JournalDamaged, GatepostError) as error:
            if not self._failing:
                self._log.critical(f"Journal segments cannot be reclaimed: {error}")
            self._failing = str(error)

    async def _look(self, journal: str, upto: int) -> None:
        directory = self._places.journals / journal
        if journal not in self._acknowledged:
            self._acknowledged[journal] = await asyncio.to_thread(acknowledged, directory)
        first = self._acknowledged[journal] + 1
        needed = [
            generation
            for (name, generation), messages in self._book.segments.items()
            if name == journal and messages > 0 and generation <= upto
        ]
        free = min(needed, default=upto + 1) - 1
        if free >= first:
            await asyncio.to_thread(acknowledge, directory, free)
            self._acknowledged[journal] = free
            for generation in [one for name, one in self._book.segments if name == journal and one <= free]:
                del self._book.segments[(journal, generation)]
            self._waiting_since = {
                segment: since
                for segment, since in self._waiting_since.items()
                if segment[0] != journal or segment[1] > free
            }
        if needed:
            await self._press((journal, min(needed)), waiting=upto - free)

    async def _press(self, segment: Segment, *, waiting: int) -> None:
        """Move content out of the oldest segment that is needed, when its time has come."""
        since = self._waiting_since.setdefault(segment, self._now())
        if self._now() - since < self._patience_s and waiting < PRESSING:
            return
        while await self._move_some(segment) == BATCH:
            if not await self._checkpointer.make():
                return
        self._waiting_since.pop(segment, None)

    async def _move_some(self, segment: Segment) -> int:
        """Copy a batch of content; give how many messages were moved."""
        rows = await self._database.run(in_segment, segment, BATCH)
        rows = [row for row in rows if row.mid not in self._book.moving and self._movable(row.mid)]
        rows = self._fitting(rows)
        if not rows:
            return 0
        self._book.finished_meanwhile = set()
        try:
            copies = await asyncio.to_thread(self._copy, rows)
            finished = self._book.finished_meanwhile
        finally:
            self._book.finished_meanwhile = None
        return sum(self._register(row, copy) for row, copy in zip(rows, copies, strict=True) if row.mid not in finished)

    def _fitting(self, rows: list[MessageRow]) -> list[MessageRow]:
        """Leave out what there is no room for: the last of the disk is for the index, without which nothing moves."""
        free, total = Disk().space(self._places.content)
        room = free - share(KEPT_FREE, total)
        fitting: list[MessageRow] = []
        for row in rows:
            room -= 0 if row.kind == "file" else row.length
            if room < 0:
                break
            fitting.append(row)
        if len(fitting) < len(rows) and not self._short:
            self._log.warning("Deferred mail stays in its journals: the disk is too full to move it out of them")
        self._short = len(fitting) < len(rows)
        return fitting

    def _movable(self, mid: int) -> bool:
        if mid in self._book.gone:
            return False
        message = self._book.messages.get(mid)
        return message is None or message.movable

    def _register(self, row: MessageRow, content: ContentRef) -> bool:
        """Have a message read its content in the new place from now on."""
        if not self._movable(row.mid):
            return False
        new = ("", content.generation)
        message = self._book.messages.get(row.mid)
        if message is not None:
            message.segment, message.content = new, content
        self._book.moving[row.mid] = Move(segment_of(row), new, content)
        self._book.segments[new] += 1
        return True

    def _copy(self, rows: Sequence[MessageRow]) -> list[ContentRef]:
        """Write content to new packs, synced; in a thread. What failed leaves no pack."""
        made: list[Path] = []
        try:
            return self._fill(rows, made)
        except BaseException:
            for path in made:  # no row names them, and a disk that is full has to get them back
                path.unlink(missing_ok=True)
            raise

    def _fill(self, rows: Sequence[MessageRow], made: list[Path]) -> list[ContentRef]:
        disk = Disk()
        copies: list[ContentRef] = []
        pack, path = self._next_pack()
        fd = disk.open(path, create=True, write=True)
        made.append(path)
        try:
            offset = 0
            for row in rows:
                content = self._places.locate(row)
                if content.kind == "file":
                    number, link = self._next_pack()
                    os.link(content.path, link)
                    made.append(link)
                    copies.append(moved(content, link, 0, number))
                    continue
                copies.append(moved(content, path, offset, pack))
                offset += disk.write(fd, list(open_content(content)), offset)
            killpoint("reclaim.copied")
            disk.fdatasync(fd)
        finally:
            disk.close(fd)
        disk.fsync_directory(self._places.content)
        killpoint("reclaim.synced")
        return copies

    def _next_pack(self) -> tuple[int, Path]:
        self._pack += 1
        return self._pack, self._places.pack(self._pack)

    async def _remove_packs(self) -> None:
        empty = [number for (journal, number), n in self._book.segments.items() if not journal and n <= 0]
        for number in empty:
            await asyncio.to_thread(self._places.pack(number).unlink, missing_ok=True)
            del self._book.segments[("", number)]
