"""How loaded this machine and this process are: the system gauges of the status page.

A daemon's counters show one `ProcessLoad` (this process) or `SystemLoad` (the machine as well) and have it sampled
(`Counters.show`). A gauge that cannot be read is left out. Figures are whole percents, but for
`log_available`, which is octets. Names: behaviour 2.3.
"""

import contextlib
import os
import shutil
from pathlib import Path

from core import clock


def cpu_times(stat: str) -> tuple[int, int]:
    """Give busy and all clock ticks of all processors together from the text of /proc/stat. Raises `ValueError`."""
    words = stat.split("\n", 1)[0].split()
    if words[:1] != ["cpu"]:
        raise ValueError("not the text of /proc/stat")
    ticks = [int(word) for word in words[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # neither idle nor waiting for a disk


def disk_busy_ms(diskstats: str, device: tuple[int, int]) -> int | None:
    """Give how long a device has had requests in hand, from /proc/diskstats; None if it is not listed there."""
    for line in diskstats.splitlines():
        words = line.split()
        if len(words) > 12 and (int(words[0]), int(words[1])) == device:
            return int(words[12])
    return None


class ProcessLoad:
    """What this process takes of the machine's processors."""

    def __init__(self) -> None:
        self._processors = os.cpu_count() or 1
        self._last = (clock.monotonic(), self._own_s())
        self._gauges: dict[str, int] = {}

    def gauges(self) -> dict[str, int]:
        """Give the last sample by the names of the status page."""
        return dict(self._gauges)

    def sample(self) -> None:
        """Look now; the gauges are about the time since the last look."""
        now, own_s = clock.monotonic(), self._own_s()
        past_s = now - self._last[0]
        if past_s > 0:
            share = (own_s - self._last[1]) / past_s / self._processors
            self._gauges["cpu_utilization"] = _percent(share)
        self._last = (now, own_s)

    @staticmethod
    def _own_s() -> float:
        times = os.times()
        return times.user + times.system


class SystemLoad(ProcessLoad):
    """The same, and how busy processors and disk are, and what the logs take."""

    def __init__(self, storage: Path, logs: Path, proc: Path = Path("/proc")) -> None:
        """`storage` is a folder on the disk that counts, `logs` the folder of all logs."""
        super().__init__()
        self._storage = storage
        self._logs = logs
        self._proc = proc
        self._cpu: tuple[int, int] | None = None
        self._disk: tuple[float, int] | None = None

    def sample(self) -> None:
        """Look now."""
        super().sample()
        with contextlib.suppress(OSError, ValueError):
            self._sample_cpu()
        with contextlib.suppress(OSError, ValueError):
            self._sample_disk()
        with contextlib.suppress(OSError):
            disk = shutil.disk_usage(self._logs)
            self._gauges["log_used"] = _percent(disk.used / disk.total)
            self._gauges["log_available"] = disk.free

    def _sample_cpu(self) -> None:
        busy, total = cpu_times((self._proc / "stat").read_text(encoding="ascii"))
        if self._cpu is not None and total > self._cpu[1]:
            self._gauges["total_utilization"] = _percent((busy - self._cpu[0]) / (total - self._cpu[1]))
        self._cpu = (busy, total)

    def _sample_disk(self) -> None:
        device = self._storage.stat().st_dev
        where = (os.major(device), os.minor(device))
        busy_ms = disk_busy_ms((self._proc / "diskstats").read_text(encoding="ascii"), where)
        if busy_ms is None:
            return
        now = clock.monotonic()
        if self._disk is not None and now > self._disk[0]:
            self._gauges["disk_utilization"] = _percent((busy_ms - self._disk[1]) / 1000 / (now - self._disk[0]))
        self._disk = (now, busy_ms)


def _percent(share: float) -> int:
    return max(0, min(100, round(share * 100)))
