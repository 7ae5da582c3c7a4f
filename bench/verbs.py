"""How long the loop of the queue is held up while operators or the clock do a lot at once.

    python -m bench.verbs delete|bounce|warn|filter [--messages 50001] [--destinations 1] [--explain]

The real `DeliveryQueue` on a spool that is filled here, with a courier whose hosts are all down. `delete` and `bounce`
are the operator's verbs over everything; `warn` has a delay warning due for every message; `filter` takes one message
with so many recipients, bounced by a filter. A task that sleeps for a millisecond notes the longest time until it ran
again, by the clock and by the processor time of its thread; the second is what counts on a machine that is shared.
`--explain` prints where the thread was in waits over 80 ms.
"""

import argparse
import asyncio
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import uvloop

from core.ids import IdBlocks
from core.journal import Journal, JournalSettings
from core.lifecycle import Activities, Signals, run_service
from core.maillog import MailLog
from core.metrics import Counters
from core.record import Accepted, Outcome, Recipient, encode
from core.sqlite import open_database
from mail.bounce.profile import BounceProfile
from mail.delivery.courier import Line
from mail.delivery.limit import Limits
from mail.queue import store
from mail.queue.queue import DeliveryQueue, QueueSettings
from mail.queue.store import Change, MessageRow, RecipientRow
from protocol.errors import TemporaryFailure
from protocol.reply import Reply

CONTENT = b"Subject: many\r\n\r\n" + b"x" * 2000 + b"\r\n"
AGE_S = 7200.0
SHOWN_S = 0.08


class Down:
    """A courier that reaches nobody."""

    async def open(self, _destination: str, _target: str, *_more: object) -> Line:
        """Fail."""
        raise TemporaryFailure(Reply(450, "4.4.1", "no host answers"))


@dataclass
class Gaps:
    """The longest time for which the loop did not come round."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    last: float = 0.0
    ended: bool = False

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.last, cpu = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.001)
            self.wall_s = max(self.wall_s, time.monotonic() - self.last)
            self.cpu_s = max(self.cpu_s, time.thread_time() - cpu)

    def explain(self) -> None:
        """Print the loop's stack during long waits, from a thread of its own."""
        loop_thread = threading.get_ident()

        def look() -> None:
            while not self.ended:
                time.sleep(0.02)
                if self.last and time.monotonic() - self.last > SHOWN_S:
                    frame = sys._current_frames()[loop_thread]
                    print("".join(traceback.format_stack(frame)[-5:]), file=sys.stderr)

        threading.Thread(target=look, daemon=True).start()


def fill(spool: Path, messages: int, destinations: int, review_at: float) -> None:
    """Write the index, and one file of content that all messages share."""
    (spool / "queue" / "content").mkdir(parents=True)
    database = open_database(spool / "queue" / "queue.db", store.SCHEMA)
    (spool / "queue" / "content" / "1.content").write_bytes(CONTENT)
    crc, size, now = crc32(CONTENT), len(CONTENT), time.time()
    for start in range(1, messages + 1, 20_000):
        change = Change()
        for mid in range(start, min(start + 20_000, messages + 1)):
            domain, sender = f"d{mid % destinations}.test", f"user{mid % 1000}@here.test"
            accepted = Accepted(mid, 1, now - AGE_S, sender, [Recipient(0, f"r@{domain}")], size)
            row = (mid, sender, encode(accepted), encode(Outcome(mid, "deliver")), "", 1, "file", "1.content", 0, size)
            change.messages.append(MessageRow(*row, crc, review_at))
            bucket, flow = crc32(domain.encode()) & 255, crc32(sender.encode())
            history = (1, now + 3000.0, "450 4.4.1 no host answers", 1)
            change.recipients.append(RecipientRow(mid, 0, bucket, domain, "", *history, 0, flow))
        with database.transaction():
            store.write(database, change)
    database.close()


def make(folder: Path, log: MailLog) -> tuple[DeliveryQueue, Journal, Counters]:
    """Put the queue together."""
    profile = BounceProfile(delay_warnings="on", delay_interval_s=3600.0)
    limits = Limits(profile=profile)
    settings = JournalSettings(reserve_bytes=0, backlog_bytes=4 << 30)
    own = Journal.open(folder / "spool/journal/delivery-queue", settings)
    counters = Counters(folder / "counters")
    (folder / "spool/ids").mkdir(parents=True)
    (folder / "spool/ids/mid").write_text("10000000")
    queue = DeliveryQueue(
        folder / "spool",
        folder / "state",
        QueueSettings("esa.test", limits=lambda _name: limits),
        journal=own,
        couriers={"": Down()},
        log=log,
        bounce_log=MailLog(folder / "bounce.current"),
        counters=counters,
        mids=IdBlocks(folder / "spool/ids/mid"),
    )
    return queue, own, counters


async def operate(queue: DeliveryQueue, action: str) -> str:
    """Carry out a verb over everything; gives what it says."""
    told = await queue.operations.begin({"action": action})
    while told["state"] in ("waiting", "running"):
        told = await queue.operations.follow({"id": told["id"], "wait_s": 5})
    return f"{told['state']}: {told['recipients']} recipients, {told['busy']} busy, {told['unreported']} unreported"


async def accept_one(folder: Path, recipients: int) -> Journal:
    """Put one message that a filter bounced into a gateway's journal."""
    journal = Journal.open(folder / "spool/journal/gateway-0", JournalSettings(reserve_bytes=0))
    content = journal.content()
    content.write(CONTENT)
    rows = [Recipient(rid, f"r{rid}@d{rid % 50}.test") for rid in range(recipients)]
    accepted = Accepted(1, 1, time.time(), "a@here.test", rows, len(CONTENT))
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    outcome = Outcome(1, "bounce", reason="not wanted")
    journal.append(1, encode(accepted), content, encode(outcome), done.set_result)
    await done
    return journal


async def counted(counters: Counters, name: str, least: int) -> str:
    """Wait until a counter has come so far, or stands still for ten seconds."""
    before, since = 0, time.monotonic()
    while before < least and time.monotonic() - since < 10:
        await asyncio.sleep(0.05)
        now = counters.snapshot().get(name, {}).get("uptime", 0)
        if now != before:
            before, since = now, time.monotonic()
    return f"{name} {before}"


async def run(args: argparse.Namespace, folder: Path) -> None:
    """Fill, start, do it, print."""
    gateway: Journal | None = None
    fills = args.what != "filter"
    if fills:
        fill(folder / "spool", args.messages, args.destinations, 1.0 if args.what == "warn" else time.time() + 9e6)
    log = MailLog(folder / "mail.current")
    queue, own, counters = make(folder, log)
    signals, gaps = Signals([queue.name]), Gaps()
    loop = asyncio.get_running_loop()
    running = loop.create_task(run_service(queue, signals, Activities()))
    await signals.ready[queue.name].wait()
    await asyncio.sleep(1.0)
    watching = loop.create_task(gaps.watch())
    if args.explain:
        gaps.explain()
    doing: dict[str, Callable[[], Awaitable[str]]] = {
        "delete": lambda: operate(queue, "delete"),
        "bounce": lambda: operate(queue, "bounce"),
        "warn": lambda: counted(counters, "gen_bounce_recips", args.messages),
        "filter": lambda: counted(counters, "hard_bounced_recips", args.messages),
    }
    begun, cpu = time.monotonic(), time.process_time()
    if not fills:
        gateway = await accept_one(folder, args.messages)
    said = await doing[args.what]()
    took, used = time.monotonic() - begun, time.process_time() - cpu
    print(f"{args.what} {args.messages}: {said}; {took:.1f} s, {used:.1f} s of processor time")
    print(f"  longest wait of the loop {gaps.wall_s * 1000:.0f} ms, {gaps.cpu_s * 1000:.0f} ms of processor time")
    gaps.ended = True
    watching.cancel()
    signals.stopping.set()
    await running
    own.close()
    if gateway is not None:
        gateway.close()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="bench.verbs", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("delete", "bounce", "warn", "filter"))
    parser.add_argument("--messages", type=int, default=50_001)
    parser.add_argument("--destinations", type=int, default=1)
    parser.add_argument("--explain", action="store_true", help="print the stack in long waits")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gatepost-verbs-") as folder:
        uvloop.run(run(args, Path(folder)))


if __name__ == "__main__":
    main()
