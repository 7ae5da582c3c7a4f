"""A process that accepts messages into a journal until it is killed, and a second role that reads and acknowledges.

Run as a module with a directory and a seed. Every line on standard output is a fact that the outside may rely on:
`offered MID`, then `accepted MID` once `done(None)` was called, `imported MID` once a reader has it durably.
"""

import asyncio
import hashlib
import os
import random
import sys
from pathlib import Path

import uvloop

from core.content import ContentSettings
from core.ids import IdBlocks
from core.journal import Journal, JournalSettings, Position, Tail, acknowledge, read_content

SETTINGS = JournalSettings(
    segment_bytes=64 * 1024,
    backlog_bytes=8 * 1024 * 1024,
    reserve_bytes=0,
    keep_s=0.01,
    retry_s=0.05,
    content=ContentSettings(inline_bytes=16 * 1024),
)
MESSAGES = 60
WAITING = 5


def body(mid: int) -> bytes:
    """Give the content that belongs to a MID."""
    seed = hashlib.sha256(b"%d" % mid).digest()
    return seed * ((mid * 37) % 150) + (seed * 700 if mid % 9 == 0 else b"")


def say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


class Importer:
    """Stands in for the queue: what it imported and its position lie in one synced file."""

    def __init__(self, directory: Path, state: Path) -> None:
        self._directory = directory
        self._state = state
        position = Position()
        if state.exists():
            position = Position(*map(int, state.read_text().split()[-1].split(":")))
        self._tail = Tail(directory, position)

    def turn(self) -> int:
        entries = self._tail.read(20_000)
        for entry in entries:
            assert entry.accepted == b"accepted %d" % entry.mid
            assert entry.outcome == b"outcome %d" % entry.mid
            assert read_content(entry.content) == body(entry.mid)
        position = self._tail.position
        mids = " ".join(str(entry.mid) for entry in entries)
        fd = os.open(self._state, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f" {mids} {position.generation}:{position.offset}".encode())
        os.fdatasync(fd)
        os.close(fd)
        if self._tail.acknowledgeable():
            acknowledge(self._directory, self._tail.acknowledgeable())
        return len(entries)


async def live(directory: Path, seed: int) -> None:
    """Accept messages, import now and then, end well if nobody kills us."""
    chance = random.Random(seed)
    journal = Journal.open(directory / "gateway-0", SETTINGS)
    ids = IdBlocks(directory / "mid", block=100)
    importer = Importer(directory / "gateway-0", directory / "imported")
    for entry in journal.recovered:
        assert read_content(entry.content) == body(entry.mid)
        journal.append_outcome(entry.mid, b"outcome %d" % entry.mid, lambda _failure: None)
    for _ in range(MESSAGES // WAITING):
        await asyncio.gather(*(accept(journal, ids.next(), chance.random() < 0.5) for _ in range(WAITING)))
        if chance.random() < 0.5:
            importer.turn()
            await asyncio.sleep(0.012)
    while journal._writer.busy:
        await asyncio.sleep(0.005)
    while importer.turn():
        pass
    journal.close()


async def accept(journal: Journal, mid: int, late: bool) -> None:
    """Take one message; where `late`, its outcome follows."""
    content = journal.content()
    data = body(mid)
    for at in range(0, len(data), 5000):
        content.write(data[at : at + 5000])
    told = asyncio.get_running_loop().create_future()

    def done(failure: Exception | None) -> None:
        if failure is None:
            say(f"accepted {mid}")
        told.set_result(None)

    outcome = b"outcome %d" % mid
    journal.append(mid, b"accepted %d" % mid, content, None if late else outcome, done)
    await told
    if late:
        journal.append_outcome(mid, outcome, lambda _failure: None)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(live(Path(sys.argv[1]), int(sys.argv[2])))
