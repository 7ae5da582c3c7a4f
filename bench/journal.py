"""Measure how fast a journal accepts messages: records per second and CPU per record, by how many wait at once.

Run it from the checkout: `python -m bench.journal --dir /var/tmp/x --seconds 2`. Each of N sessions appends one
message (accepted and outcome in one record) and appends the next when `done` is called, in the loop thread, as a
mail session does. CPU is that of the whole process, all threads. The directory decides which disk is measured; it
must not exist and is removed afterwards. Columns: waiting sessions, records per second, microseconds of CPU per
record, records per sync, and the median and 99th percentile of the time from `append` to `done` in milliseconds.
"""

import argparse
import asyncio
import shutil
import time
from pathlib import Path

import uvloop

from core.disk import Disk
from core.journal import Journal, JournalSettings, acknowledge

ACCEPTED = b"a" * 350
OUTCOME = b"o" * 120
HEADINGS = ("waiting", "records/s", "CPU us", "per sync", "p50 ms", "p99 ms")


class CountingDisk(Disk):
    """Counts syncs."""

    syncs = 0

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        super().fdatasync(fd)


class Load:
    """N sessions that never pause."""

    def __init__(self, journal: Journal, size: int, until: float) -> None:
        self.latencies: list[float] = []
        self.failed = 0
        self.idle = asyncio.Event()
        self._journal = journal
        self._body = b"x" * size
        self._until = until
        self._running = 0

    def start(self, sessions: int) -> None:
        for _ in range(sessions):
            self._running += 1
            self._next()

    def _next(self) -> None:
        content = self._journal.content()
        content.write(self._body)
        begun = time.perf_counter()

        def done(failure: Exception | None) -> None:
            now = time.perf_counter()
            self.latencies.append(now - begun)
            self.failed += failure is not None
            if now < self._until:
                self._next()
                return
            self._running -= 1
            if not self._running:
                self.idle.set()

        self._journal.append(len(self.latencies) + 1, ACCEPTED, content, OUTCOME, done)


async def measure(directory: Path, sessions: int, size: int, seconds: float) -> tuple[float, ...]:
    disk = CountingDisk()
    settings = JournalSettings(reserve_bytes=0, backlog_bytes=2**40, keep_s=0.05)
    journal = Journal.open(directory, settings, disk)
    warm = Load(journal, size, time.perf_counter() + seconds / 4)
    warm.start(sessions)
    await warm.idle.wait()
    syncs, cpu, begun = disk.syncs, time.process_time(), time.perf_counter()
    load = Load(journal, size, begun + seconds)
    load.start(sessions)
    while not load.idle.is_set():
        try:
            async with asyncio.timeout(0.1):
                await load.idle.wait()
        except TimeoutError:  # what a queue that keeps up would do: segments are recycled
            newest = int(journal.status()["generation"]) - 1
            await asyncio.to_thread(acknowledge, directory, newest)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    count = len(load.latencies)
    if load.failed:
        raise SystemExit(f"{load.failed} of {count} records failed")
    times = sorted(load.latencies)
    batches = count / max(disk.syncs - syncs, 1)
    journal.close()
    return (count / wall, cpu / count * 1e6, batches, times[count // 2] * 1e3, times[count * 99 // 100] * 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="directory to create, on the disk to measure")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=4096, help="octets of content")
    parser.add_argument("--waiting", type=int, nargs="+", default=[1, 10, 20, 100, 1000])
    options = parser.parse_args()
    print("".join(f"{heading:>12}" for heading in HEADINGS))
    for sessions in options.waiting:
        options.dir.mkdir(parents=True)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                row = runner.run(measure(options.dir / "journal", sessions, options.size, options.seconds))
        finally:
            shutil.rmtree(options.dir)
        print(f"{sessions:12}{row[0]:12.0f}{row[1]:12.1f}{row[2]:12.1f}{row[3]:12.2f}{row[4]:12.2f}", flush=True)


if __name__ == "__main__":
    main()
