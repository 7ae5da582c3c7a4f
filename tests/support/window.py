"""How much a sink answered for within the last moments: what a power cut may repeat."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.load import Sink

SYNCED_WITHIN_S = 0.6
"""The done log is synced every 0.2 s; a sync waits for a checkpoint that is under way, which with two busy cores and a
disk of its own journal takes the rest. The design bounds it by these two, not by a number of seconds."""


class Window:
    """Looks at a sink from time to time."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._samples: list[tuple[float, int]] = []

    async def watch(self) -> None:
        """Take samples, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._samples.append((loop.time(), self._sink.transactions))
            await asyncio.sleep(0.05)

    def recent(self) -> int:
        """Count what came since the last sync at the latest."""
        since = asyncio.get_running_loop().time() - SYNCED_WITHIN_S
        before = [count for at, count in self._samples if at < since]
        return self._sink.transactions - (before[-1] if before else 0)


@asynccontextmanager
async def watched(sink: Sink) -> AsyncIterator[Window]:
    """Look while the block runs."""
    window = Window(sink)
    task = asyncio.get_running_loop().create_task(window.watch())
    try:
        yield window
    finally:
        task.cancel()
