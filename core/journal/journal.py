"""The journal of one process that makes messages: append, and be told when it is durable.

`Journal.open` takes the directory's lock, recovers what is there and opens a new segment; `recovered` then holds the
accepted messages without an outcome, to be run through the pipeline again. `append` and `append_outcome` belong to
the loop thread and cost no task, future or timer. `done(None)` is the instant of acceptance: the record is on the
disk and readers may see it. `done(error)` means that the message was not taken: `JournalUnavailable` or
`JournalFull`, both answered 451. `done` is called in the loop thread, exactly once, never from within `append`.

Every message-making daemon owns one; the queue reads it through `Tail`. It knows no SMTP and no policy.
Raises on opening: `JournalBusy`, `OSError`, and `FormatRefused` before anything was changed.
"""

import asyncio
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from core.condition import Concern, Condition, Figure, Stall
from core.content import Content, ContentSettings, ContentStore
from core.diagnostic import CRITICAL, say
from core.disk import Disk
from core.ids import IdBlocks
from core.journal.entry import ContentRef, Recovered
from core.journal.error import JournalBusy, JournalError, JournalFull, JournalUnavailable
from core.journal.keeper import Keeper, Reserve
from core.journal.ledger import Ledger
from core.journal.log import LogParts, SegmentLog
from core.journal.mark import MarkWriter
from core.journal.reclaim import acknowledged
from core.journal.record import ACCEPTED, OUTCOME, PAGE, Done, Item, stored_bytes
from core.journal.recovery import Recovery, read_records
from core.journal.segment import CONTENT_DIRECTORY
from core.journal.spare import Spares
from core.journal.writer import Writer
from core.lifecycle import Scope

GENERATION_BLOCK = 16


@dataclass(frozen=True)
class JournalSettings:
    """Sizes in octets."""

    segment_bytes: int = 64 * 1024 * 1024
    """A multiple of 4096. No record may be larger."""
    backlog_bytes: int = 1024 * 1024 * 1024
    """Durable but not acknowledged, spilled content included; beyond it messages are refused."""
    reserve_fraction: float = 0.05
    """Part of the file system that messages must leave free."""
    reserve_bytes: int | None = None
    """The same in octets, instead of the fraction; 0 for the queue, which may use the reserve."""
    retry_s: float = 1.0
    """Time between attempts to open a new segment after a failure."""
    keep_s: float = 0.5
    """Time between looks at acknowledgements and free space."""
    content: ContentSettings = field(default_factory=ContentSettings)

    def __post_init__(self) -> None:
        if self.segment_bytes % PAGE or self.segment_bytes < 4 * PAGE:
            raise ValueError(f"segment_bytes must be a multiple of {PAGE}, four times that or more")
        if self.backlog_bytes < 2 * self.segment_bytes:
            raise ValueError("backlog_bytes must be at least twice segment_bytes")


class Scanned(NamedTuple):
    """One record on the disk, as `Journal.scan` shows it."""

    mid: int
    accepted: bytes
    """Empty in a record that holds only an outcome."""
    outcome: bytes
    """Empty in a record that holds only the acceptance."""
    content: ContentRef | None


class Journal:
    """See the module."""

    def __init__(self, directory: Path, settings: JournalSettings, disk: Disk, lock: int) -> None:
        """Recover and open; use `Journal.open`."""
        self.name = f"journal {directory.name}"
        self.directory = directory
        self.settings = settings
        self._disk = disk
        self._lock = lock
        self._ledger = Ledger()
        spares = Spares(disk, directory, settings.segment_bytes)
        recovery = Recovery(disk, directory, self._ledger, spares, settings.segment_bytes)
        found = recovery.recover()
        self._mark = MarkWriter(disk, directory)
        floor = 1 + max(found.newest, acknowledged(directory, disk), self._mark.position.generation)
        numbers = IdBlocks(directory / "generation", block=GENERATION_BLOCK, floor=floor, disk=disk)
        parts = LogParts(
            disk, directory, settings.segment_bytes, self._mark, spares, self._ledger, numbers.next, found.previous
        )
        self._log = SegmentLog(parts)
        try:
            self._log.roll()
        except OSError as error:
            self._log.failure = error  # the writer tries again
        self.recovered: list[Recovered] = list(found.pending.values())
        """Accepted messages without an outcome, oldest first; each must get `append_outcome`."""
        self.damaged = found.damaged
        """Places that recovery skipped; after a crash those of the batch that was being written."""
        self._aside = _told(directory, found.aside)
        self._content = ContentStore(directory / CONTENT_DIRECTORY, settings.content, disk)
        self._writer = Writer(self._log, settings.retry_s)
        reserve = Reserve(settings.reserve_fraction, settings.reserve_bytes)
        self._keeper = Keeper(
            parts, reserve, settings.keep_s, lambda: self._log.position.generation, recovery.recycle_empty
        )
        self._settling = 0

    @classmethod
    def open(
        cls,
        directory: Path,
        settings: JournalSettings | None = None,
        disk: Disk | None = None,
        show: Callable[["Scanned"], None] | None = None,
    ) -> "Journal":
        """Open or create the journal of a directory and start its threads; blocking.

        `show` is given every durable record as `scan` does, before the first segment can be recycled. Where a new
        segment cannot be opened (a full disk) the journal opens unhealthy: what is in it can be read, acknowledged
        and reclaimed, and that is what makes room again.
        """
        disk = disk or Disk()
        disk.make_directory(directory / CONTENT_DIRECTORY)
        try:
            lock = disk.lock(directory / "lock")
        except BlockingIOError as taken:
            raise JournalBusy(f"{directory}: another process owns this journal") from taken
        try:
            journal = cls(directory, settings or JournalSettings(), disk, lock)
        except BaseException:
            disk.close(lock)
            raise
        if show is not None:
            journal.scan(show)
        journal._keeper.turn()
        journal._keeper.start()
        journal._writer.start()
        return journal

    def content(self) -> Content:
        """Start the content of a message; `append` takes it over, else call its `discard`."""
        return self._content.new()

    @property
    def refusal(self) -> JournalError | None:
        """Why no message would be taken now, None if one would; ask before content is received."""
        if self._writer.failure is not None:
            return JournalUnavailable(f"{self.directory}: {self._writer.failure}")
        if self._ledger.total > self.settings.backlog_bytes:
            return JournalFull(f"{self.directory}: {self._ledger.total} octets wait for the queue")
        return self._keeper.refusal

    @property
    def room(self) -> int:
        """Octets that messages may still take, at the keeper's last look: for a size that is declared in advance."""
        return self._keeper.room

    def append(self, mid: int, accepted: bytes, content: Content, outcome: bytes | None, done: Done) -> None:
        """Record an accepted message, with its outcome if that is known already. Takes `content` over."""
        item = Item(mid, accepted, outcome or b"", content, done)
        refusal = self.refusal
        if refusal is None and stored_bytes(item) > self.settings.segment_bytes - PAGE:
            refusal = JournalFull(f"{self.directory}: {mid} is larger than a segment")
        if refusal is not None:
            self._refuse(item, refusal)
        elif content.file is None:
            self._writer.submit(item)
        else:
            self._settling += 1
            content.settle(partial(self._settled, item))

    def append_outcome(self, mid: int, outcome: bytes, done: Done) -> None:
        """Record the outcome of a message accepted before. Not subject to backlog and reserve: it helps them."""
        item = Item(mid, b"", outcome, None, done)
        if self._writer.failure is not None:
            self._refuse(item, JournalUnavailable(f"{self.directory}: {self._writer.failure}"))
        elif stored_bytes(item) > self.settings.segment_bytes - PAGE:
            self._refuse(item, JournalFull(f"{self.directory}: the outcome of {mid} is larger than a segment"))
        else:
            self._writer.submit(item)

    def scan(self, show: Callable[[Scanned], None]) -> None:
        """Show every durable record that is still on the disk, oldest first; blocking."""
        for reader, record in read_records(self._disk, self.directory, self._mark.position):
            content = reader.content(record) if record.kind & ACCEPTED else None
            show(Scanned(record.mid, record.accepted, record.outcome, content))

    def waiting(self, wanted: Container[int]) -> Iterator[Recovered]:
        """Give accepted messages of some MIDs, oldest first, read from the disk; for those without an outcome.

        Blocking; their segments stay until they have one. `wanted` may change meanwhile.
        """
        for reader, record in read_records(self._disk, self.directory, self._mark.position):
            if record.kind & ACCEPTED and not record.kind & OUTCOME and record.mid in wanted:
                yield Recovered(record.mid, record.accepted, reader.content(record))

    def status(self) -> dict[str, Any]:
        """Give what an operator wants to know: health, backlog, limits, position."""
        failure, refusal, problem = self._writer.failure, self.refusal, self._keeper.problem
        return {
            "healthy": failure is None,
            "failure": str(failure or ""),
            "refusal": str(refusal or ""),
            "housekeeping": str(problem or ""),
            "backlog_bytes": self._ledger.total,
            "latency_s": self._writer.latency_s,
            "segments": len(self._ledger.generations()),
            "generation": self._log.position.generation,
            "content_bytes_in_memory": self._content.held,
            "damaged": self.damaged,
        }

    def condition(self) -> Condition:
        """Say whether messages are taken, and what writing them costs. The queue's own takes only what it makes."""
        refusal, owner = self.refusal, {"journal": self.directory.name}
        values = {
            "journal_commits_total": float(self._writer.commits),
            "journal_commit_seconds_total": self._writer.commits_s,
            "journal_latency_seconds": self._writer.latency_s,
            "journal_backlog_bytes": float(self._ledger.total),
            "journal_backlog_limit_bytes": float(self.settings.backlog_bytes),
            "journal_segments": float(len(self._ledger.generations())),
            "journal_refusing": float(refusal is not None),
        }
        figures = tuple(Figure(name, value, owner) for name, value in values.items())
        stalls = (Stall(f"{self.name}: one write", self._writer.in_hand_s),)
        concerns = [Concern("spool", False, self._aside)] if self._aside else []
        if refusal is not None:
            text = f"{self.name} takes nothing: {str(refusal).removeprefix(f'{self.directory}: ')}"
            concerns.insert(0, Concern("spool", self.settings.reserve_bytes != 0, text))
        return Condition(tuple(concerns), figures, stalls)

    async def run(self, scope: Scope) -> None:
        """Be a service: ready at once; at the stop, stay until everybody who waits was told."""
        scope.ready()
        await scope.stopping.wait()
        told = asyncio.Event()
        self._writer.on_idle = told.set
        while self._settling or self._writer.busy:
            told.clear()
            await told.wait()

    def close(self) -> None:
        """Finish what is being written, end the threads, give the lock back; blocking. For orderly ends and tests:
        a daemon may as well just exit."""
        self._keeper.close()
        self._content.close()
        self._writer.close()
        self._mark.close()
        self._disk.close(self._lock)

    def _settled(self, item: Item, failure: OSError | None) -> None:
        """Go on with a message whose spilled content is on the disk, or is not."""
        self._settling -= 1
        if failure is None:
            self._writer.submit(item)
        else:
            self._refuse(item, JournalUnavailable(f"{self.directory}: {failure}"))
            self._writer.on_idle()

    def _refuse(self, item: Item, reason: JournalError) -> None:
        if item.content is not None:
            item.content.discard()
        asyncio.get_running_loop().call_soon(item.done, reason)


def _told(directory: Path, aside: list[str]) -> str:
    """Log that segments are set aside; gives what is said of them for as long as they are there."""
    if not aside:
        return ""
    text = f"journal {directory.name}: accepted mail may be in what cannot be read: {directory}/{', '.join(aside)}"
    say(CRITICAL, f"{text}; content that it may name is kept; docs/queue.md")
    return text
