"""A listener in a process of its own that says what one large message cost it: memory, and how long the loop was held.

Run with a folder as argument. It prints the port, then takes messages until one comes from `report@…`, and prints
a JSON document about what happened since the last from `begin@…`.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from core.content import ContentStore
from core.runtime import run
from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings
from protocol.reply import Reply
from protocol.smtp.conversation import Answer
from protocol.smtp.settings import ServerSettings
from tests.support.service import running
from tests.support.smtp_session import Recorder, RecordingSession


class Gauge:
    """Memory of this process and turns of its loop."""

    def __init__(self) -> None:
        self.turns: list[tuple[float, float]] = []
        self._last = (time.monotonic(), time.thread_time())
        self._resident = 0

    def begin(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        self._resident = _status("VmRSS")
        self.turns = []

    def beat(self) -> None:
        """Note one turn of the loop: how long it took, and how much of that was this thread's CPU time."""
        now = (time.monotonic(), time.thread_time())
        self.turns.append((now[0] - self._last[0], now[1] - self._last[1]))
        self._last = now
        asyncio.get_running_loop().call_soon(self.beat)

    def report(self) -> dict[str, Any]:
        walls = sorted(wall for wall, _ in self.turns)
        return {
            "grown_kib": _status("VmHWM") - self._resident,
            "turns": len(walls),
            "longest_cpu_s": max(cpu for _, cpu in self.turns),
            "wall_p99_s": walls[len(walls) * 99 // 100],
        }


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])


class Measured(RecordingSession):
    """A session whose content goes to a real store and is dropped when it has arrived."""

    def __init__(self, store: ContentStore, gauge: Gauge, done: asyncio.Event) -> None:
        super().__init__(Recorder())
        self._store, self._gauge, self._done = store, gauge, done

    def message(self, size_hint: int | None) -> Any:
        if self._sender.startswith("begin@"):
            self._gauge.begin()
        return self._store.new()

    def finished(self, content: Any, answer: Answer) -> None:
        def settled(error: OSError | None) -> None:
            content.discard()
            answer(Reply(451 if error else 250, "", f"{content.size} octets"))
            if self._sender.startswith("report@"):
                self._done.set()

        content.settle(settled)


async def main(folder: Path) -> int:
    gauge, done, store = Gauge(), asyncio.Event(), ContentStore(folder)
    settings = ListenerSettings("Inbound", "127.0.0.1", 0, ServerSettings("mx.example.test"))
    listener = SmtpListener(settings, lambda: Measured(store, gauge, done))
    async with running(listener):
        gauge.beat()
        print(listener.port, flush=True)
        await done.wait()
        print(json.dumps(gauge.report()), flush=True)
        while listener.connections:
            await asyncio.sleep(0.01)
    store.close()
    return 0


if __name__ == "__main__":
    sys.exit(run(main(Path(sys.argv[1]))))
