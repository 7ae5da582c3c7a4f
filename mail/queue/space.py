"""How much room the queue takes: the journals, the index, moved content; by the names of the status page.

Looked at on a thread, since large messages have a file each, and not more often than every few seconds.
"""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

from core.clock import Clock
from mail.queue.places import Places

_FRESH_S = 5.0


class Space:
    """The gauges `kbytes_used` and `kbytes_free`."""

    def __init__(self, places: Places, now: Clock) -> None:
        self._places = places
        self._now = now
        self._gauges: dict[str, int] = {}
        self._at = float("-inf")

    async def gauges(self) -> dict[str, int]:
        """Give them, measured now or a few seconds ago."""
        now = self._now()
        if not 0 <= now - self._at < _FRESH_S:
            self._gauges = await asyncio.to_thread(self._measure)
            self._at = now
        return self._gauges

    def _measure(self) -> dict[str, int]:
        taken = sum(_taken(folder) for folder in (self._places.journals, self._places.queue))
        free = shutil.disk_usage(self._places.queue).free
        return {"kbytes_used": taken // 1024, "kbytes_free": free // 1024}


def _taken(folder: Path) -> int:
    """Sum up what a folder's files take on the disk; one that goes meanwhile counts nothing."""
    blocks = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                blocks += os.stat(os.path.join(path, name)).st_blocks
    return blocks * 512
