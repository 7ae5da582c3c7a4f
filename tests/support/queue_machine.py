"""A machine with a spool, a journal to fill it, and the delivery queue with a courier that only writes down."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from core import clock
from core.ids import IdBlocks
from core.journal import Journal, JournalSettings
from core.lifecycle import Activities, Signals, run_service
from core.record import Accepted, Outcome, Recipient, encode
from mail.bounce.profile import BounceProfile
from mail.delivery.courier import Carried, Job, Line
from mail.delivery.limit import Limits
from mail.queue.outcome_log import OutcomeLogs
from mail.queue.queue import DeliveryQueue, QueueSettings
from tests.support.waiting import until

SMALL = JournalSettings(segment_bytes=1 << 20, backlog_bytes=64 << 20, reserve_bytes=0, keep_s=0.02)


class FakeLog:
    """Keeps lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = critical = info

    def having(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]


class FakeCounters:
    """Counts."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, name: str, n: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + n

    def snapshot(self) -> dict[str, dict[str, int]]:
        return {name: {"reset": n, "uptime": n, "lifetime": n} for name, n in self.counts.items()}

    def facts(self) -> dict[str, Any]:
        return {"counters": self.snapshot(), "rates": self.rates(), "gauges": {}}

    def reset(self) -> None:
        self.counts.clear()

    def rates(self) -> dict[str, dict[str, int]]:
        return {}


Answer = Callable[[Job, int], Awaitable[Sequence[Carried]]]


class FakeCourier:
    """Carries by noting (mid, rids, content); `behave` and `refuse` change what happens."""

    def __init__(self) -> None:
        self.carried: list[tuple[int, list[int], bytes]] = []
        self.began: list[int] = []
        self.opened = 0
        self.open_now = 0
        self.behave: Answer | None = None
        self.refuse: Exception | None = None

    async def open(self, destination: str, target: str, wish: str = "") -> Line:
        if self.refuse is not None:
            raise self.refuse
        self.opened += 1
        self.open_now += 1
        return FakeLine(self, self.opened)

    def mids(self) -> list[int]:
        return [mid for mid, _, _ in self.carried]


class FakeLine:
    remote_ip = "127.0.9.1"
    remote_host = ""
    excepted = False
    carried = 0
    moves = False

    def __init__(self, courier: FakeCourier, dcid: int) -> None:
        self.courier = courier
        self.dcid = dcid
        self.usable = True

    async def send(self, job: Job) -> Sequence[Carried]:
        self.courier.began.append(job.mid)
        content = b"".join(job.chunks())
        if self.courier.behave is not None:
            results = await self.courier.behave(job, self.dcid)
        else:
            await asyncio.sleep(0)
            results = [Carried(one.rid, "delivered", 250, "2.0.0", "ok") for one in job.recipients]
        delivered = [one.rid for one in results if one.kind == "delivered"]
        if delivered:
            self.courier.carried.append((job.mid, delivered, content))
        return results

    @property
    def moved_at_s(self) -> float:
        return asyncio.get_running_loop().time() if self.moves else 0.0

    def lend(self, recall: Callable[[], bool]) -> None:
        pass

    async def close(self) -> None:
        self.courier.open_now -= 1


class Machine:
    """One spool. `start` and `crash` may be repeated; the journal of the gateway stays open."""

    def __init__(self, root: Path, profile: BounceProfile | None = None, **settings: Any) -> None:
        self.root = root
        self.profile = profile or BounceProfile(jitter=0.0)
        self.settings = settings
        self.courier = FakeCourier()
        self.cpq = FakeCourier()
        self.log = FakeLog()
        self.bounce_log = FakeLog()
        self.counters = FakeCounters()
        self.time = 0.0
        (root / "spool" / "ids").mkdir(parents=True, exist_ok=True)
        self.mids = IdBlocks(root / "spool" / "ids" / "mid")
        self.journal = Journal.open(root / "spool" / "journal" / "gateway-0", SMALL)
        self.own: Journal | None = None
        self.queue: DeliveryQueue | None = None
        self._runner: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()

    def now(self) -> float:
        return clock.now() + self.time

    async def accept(
        self,
        *recipients: str,
        content: bytes = b"Subject: x\r\n\r\nbody\r\n",
        sender: str = "a@here.test",
        notify: str = "",
        facts: dict[str, Any] | None = None,
        **outcome: Any,
    ) -> int:
        """Put a message into the journal and wait until it is durable; `facts` are further fields of `Accepted`."""
        mid = self.mids.next()
        rows = [Recipient(rid, address, notify=notify) for rid, address in enumerate(recipients)]
        accepted = Accepted(mid, 1, self.now(), sender, rows, len(content), subject="x", **(facts or {}))
        sink = self.journal.content()
        sink.write(content)
        future: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        document = encode(Outcome(mid, outcome.pop("verdict", "deliver"), **outcome))
        self.journal.append(mid, encode(accepted), sink, document, future.set_result)
        assert await future is None
        if self.queue is not None:
            self.queue.importer.poke("gateway-0")
        return mid

    def open(self) -> DeliveryQueue:
        """Make the queue object without running it."""
        limits = Limits(profile=self.profile, **self.settings.pop("limits", {}))
        self.own = Journal.open(self.root / "spool" / "journal" / "delivery-queue", SMALL)
        settings = QueueSettings("esa.test", limits=lambda _name: limits, checkpoint_s=0.03, **self.settings)
        self.queue = DeliveryQueue(
            self.root / "spool",
            self.root / "state",
            settings,
            journal=self.own,
            couriers={"": self.courier, "the.cpq.host": self.cpq},
            log=self.log,
            outcome_logs=OutcomeLogs(self.bounce_log),
            counters=self.counters,
            mids=self.mids,
            now=self.now,
        )
        return self.queue

    async def start(self) -> DeliveryQueue:
        """Open and run the queue in this loop."""
        queue = self.open()
        signals = Signals([queue.name])
        self.stopping = signals.stopping
        self._runner = asyncio.get_running_loop().create_task(run_service(queue, signals, Activities()))
        async with asyncio.timeout(30):
            await signals.ready[queue.name].wait()
        return queue

    async def stop(self) -> None:
        """Stop in order."""
        if self._runner is not None:
            self.stopping.set()
            async with asyncio.timeout(30):
                await self._runner
            self._runner = None
        self._close_own()

    async def crash(self) -> None:
        """End the queue as kill -9 would: nothing more is written."""
        assert self.queue is not None
        queue = self.queue
        queue._end = lambda: None  # type: ignore[method-assign]
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._runner = None
        abandon(queue)
        self._close_own()

    def _close_own(self) -> None:
        if self.own is not None:
            self.own.close()
            self.own = None
        self.queue = None

    async def close(self) -> None:
        """Stop what runs and close the journals."""
        await self.stop()
        self.journal.close()

    async def until(self, condition: Callable[[], Any], limit_s: float = 60.0) -> None:
        """Wait until something is true."""
        await until(condition, within_s=limit_s)


def abandon(queue: DeliveryQueue) -> None:
    """Let go of a queue's files without writing anything."""
    queue._database.close()
    queue._done.close()
