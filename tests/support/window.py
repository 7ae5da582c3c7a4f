"""How much a sink answered for within the last moments: what a power cut may repeat."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.load import Sink

SYNCED_WITHIN_S = 0.6
"""The done log is synced every 0.2 s; a sync waits for a checkpoint that is under way, which with two busy cores and a
disk of its own journal takes the rest. The design bounds it by these two, not by a number of seconds."""

_SAMPLE_S = 0.05
_LOOKED_BACK_S = 5.0


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
            await asyncio.sleep(_SAMPLE_S)

    def recent(self) -> int:
        """Count what came since the last sync at the latest; where we were late ourselves, syncs were late, too."""
        now = asyncio.get_running_loop().time()
        times = [at for at, _ in self._samples if at > now - _LOOKED_BACK_S] + [now]
        late_s = max((later - earlier for earlier, later in itertools.pairwise(times)), default=_SAMPLE_S) - _SAMPLE_S
        since = now - SYNCED_WITHIN_S - 2 * late_s
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
