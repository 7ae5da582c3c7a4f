"""Random lives of a journal on a disk that forgets: nothing acknowledged is lost, nothing comes twice.

Each history mixes batches, reading, acknowledging, reclaiming, failing calls, kill -9 and power cuts, also in the
middle of any call to the disk, and ends with one clean start that must bring everything to light.
"""

import errno
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import pytest

from core.content import ContentStore
from core.disk import Disk
from core.journal import Journal, JournalSettings, Position, Tail, acknowledge, acknowledged, read_content
from core.journal.mark import MarkReader
from core.journal.record import Item
from tests.support.simulated_disk import PowerCutError, SimulatedDisk

DIRECTORY = Path("/simulated/gateway-0")
SETTINGS = JournalSettings(segment_bytes=16 * 4096, backlog_bytes=2**30)
GROUPS, PER_GROUP = 16, 125


class SettledContent:
    """Spilled content as the journal gets it from `Content.settle`."""

    def __init__(self, disk: Disk, name: str, data: bytes) -> None:
        self.size = len(data)
        self.crc = crc32(data)
        self.file = DIRECTORY / "content" / name
        fd = disk.open(self.file, create=True, write=True)
        disk.write(fd, (data,), 0)
        disk.fdatasync(fd)
        disk.close(fd)
        disk.fsync_directory(self.file.parent)


@dataclass
class Message:
    accepted: bytes
    content: bytes
    outcomes: set[bytes] = field(default_factory=set)
    told: bool = False
    """`done(None)` of its acceptance was called."""
    sealed_out: bool = False
    """Its batch failed and a later batch of the same process succeeded."""
    outcome_told: bool = False
    unfinished: bool = True
    """No outcome is on its way: none was made, or the last one was refused."""


class History:
    """One random life, with what the outside world may rely on."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.disk = SimulatedDisk(self.chance)
        self.messages: dict[int, Message] = {}
        self.imported: Counter[int] = Counter()
        self.position = Position()
        self.failed_here: list[int] = []
        self.generations: list[str] = []
        self.journal: Journal | None = None
        self.tail: Tail | None = None
        self.countdown = 0
        self.failing = 0.0
        self.disk.hook = self.before_call

    def before_call(self, call: str, path: Path) -> None:
        if call == "rename" and path.suffix == ".segment":
            self.generations.append(path.name)
        if call == "fdatasync" and path.suffix == ".spare" and self.journal is not None:
            self.check_mark(self.journal)
        if self.countdown:
            self.countdown -= 1
            if not self.countdown:
                raise PowerCutError
        if self.failing and self.chance.random() < self.failing and call != "open":
            raise OSError(self.chance.choice((errno.EIO, errno.ENOSPC)), "injected", str(path))

    def check_mark(self, journal: Journal) -> None:
        """While a batch is being synced, readers must not be let into it (segments were opened as spares)."""
        mark = MarkReader(self.disk, DIRECTORY).read()
        position = journal._log.position
        assert mark is None or not position.generation or mark <= position, "the mark is ahead of the sync"

    def live(self, steps: int) -> None:
        for _ in range(steps):
            self.countdown = self.chance.randrange(1, 12) if self.chance.random() < 0.08 else 0
            self.failing = 0.15 if self.chance.random() < 0.1 else 0.0
            try:
                if self.journal is None:
                    self.start()
                self.step()
            except PowerCutError:
                self.crash()
            except OSError:
                if self.journal is None or self.journal._log.failure is None:
                    self.crash()
            if self.chance.random() < 0.04:
                self.crash()
        self.finish()

    def start(self) -> None:
        lock = self.disk.lock(DIRECTORY / "lock")
        self.journal = Journal(DIRECTORY, SETTINGS, self.disk, lock)
        self.failed_here = []
        self.check_recovered(self.journal)

    def check_recovered(self, journal: Journal) -> None:
        recovered = {entry.mid: entry for entry in journal.recovered}
        for mid, entry in recovered.items():
            message = self.messages[mid]
            assert entry.accepted == message.accepted
            assert read_content(entry.content, self.disk) == message.content
            assert not message.outcome_told, f"{mid} has an outcome that was durable"
            assert not message.sealed_out, f"{mid} was refused and came back"
            message.unfinished = True
        for mid, message in self.messages.items():
            if message.told and not message.outcomes:
                assert mid in recovered, f"{mid} was acknowledged and is lost"

    def step(self) -> None:
        choice = self.chance.random()
        assert self.journal is not None
        if choice < 0.5:
            self.commit(self.journal)
        elif choice < 0.75:
            self.read()
        elif choice < 0.85:
            self.journal._keeper.turn()
        elif choice < 0.95:
            self.acknowledge()
        else:
            self.disk.write_back()

    def commit(self, journal: Journal) -> None:
        if journal._log.failure is not None:
            self.journal_reopens(journal)
            return
        items = [self.make_item() for _ in range(self.chance.randrange(1, 7))]
        items += [self.make_outcome(mid) for mid in self.unfinished()[: self.chance.randrange(3)]]
        journal._log.commit(items, self.released)

    def journal_reopens(self, journal: Journal) -> None:
        journal._log.roll()
        self.seal_out()

    def make_item(self) -> Item:
        mid = len(self.messages) + 1
        size = self.chance.choice((0, 1, 100, 4000, 5000, 12000))
        message = Message(self.chance.randbytes(self.chance.choice((1, 40, 200, 3000))), self.chance.randbytes(size))
        self.messages[mid] = message
        outcome = b""
        if self.chance.random() < 0.6:
            outcome = b"outcome %d" % mid
            message.outcomes.add(outcome)
            message.unfinished = False
        if self.chance.random() < 0.15:
            content = SettledContent(self.disk, f"{mid}.content", message.content)
        else:
            content = ContentStore(DIRECTORY / "content", disk=self.disk).new()
            for at in range(0, size, 3000):
                content.write(message.content[at : at + 3000])
        return Item(mid, message.accepted, outcome, content, lambda _failure: None)

    def unfinished(self) -> list[int]:
        return [mid for mid, message in self.messages.items() if message.told and message.unfinished]

    def make_outcome(self, mid: int) -> Item:
        outcome = b"late outcome %d" % mid
        self.messages[mid].outcomes.add(outcome)
        self.messages[mid].unfinished = False
        return Item(mid, b"", outcome, None, lambda _failure: None)

    def released(self, items: list[Item], failure: Exception | None) -> None:
        for item in items:
            message = self.messages[item.mid]
            if failure is None:
                message.told = message.told or item.content is not None
                message.outcome_told = message.outcome_told or bool(item.outcome)
            elif item.content is not None:
                self.failed_here.append(item.mid)
            else:
                message.unfinished = True
        if failure is None:
            self.seal_out()

    def seal_out(self) -> None:
        for mid in self.failed_here:
            self.messages[mid].sealed_out = True
        self.failed_here = []

    def read(self) -> None:
        if self.tail is None:
            self.tail = Tail(DIRECTORY, self.position, self.disk)
        entries = self.tail.read(self.chance.choice((1, 5000, 50_000, 1_000_000)))
        if self.chance.random() < 0.1:
            self.tail = None
            return
        for entry in entries:
            message = self.messages[entry.mid]
            assert entry.accepted == message.accepted
            assert entry.outcome in message.outcomes
            assert entry.data in (None, message.content)
            assert read_content(entry.content, self.disk) == message.content
            assert not message.sealed_out, f"{entry.mid} was refused and imported"
            assert entry.mid not in self.failed_here, f"{entry.mid} was imported although its sync failed"
        self.imported.update(entry.mid for entry in entries)
        self.position = self.tail.position if self.chance.random() < 0.8 or not entries else entries[-1].position
        if self.position != self.tail.position:
            self.tail = None

    def acknowledge(self) -> None:
        if self.tail is not None and self.tail.acknowledgeable() > 0:
            acknowledge(DIRECTORY, self.tail.acknowledgeable(), self.disk)

    def crash(self) -> None:
        self.journal = None
        self.tail = None if self.chance.random() < 0.8 else self.tail
        self.countdown, self.failing = 0, 0.0
        if self.chance.random() < 0.5:
            self.disk.process_death()
            self.tail = None
        else:
            self.tail = None
            self.disk.power_cut()

    def finish(self) -> None:
        self.countdown, self.failing = 0, 0.0
        self.crash()
        self.start()
        assert self.journal is not None
        for entry in self.journal.recovered:
            self.journal._log.commit([self.make_outcome(entry.mid)], self.released)
        self.tail = None
        for _ in range(200):
            self.read()
        for mid, message in self.messages.items():
            assert self.imported[mid] <= 1, f"{mid} was imported {self.imported[mid]} times"
            if message.told:
                assert self.imported[mid] == 1, f"{mid} was acknowledged and never imported"
        assert len(set(self.generations)) == len(self.generations), "a generation was used twice"
        assert acknowledged(DIRECTORY, self.disk) < int(self.generations[-1].split(".")[0])


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_random_histories_lose_nothing_and_repeat_nothing(group: int) -> None:
    for seed in range(group * PER_GROUP, (group + 1) * PER_GROUP):
        try:
            History(seed).live(steps=40)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
