"""What this process takes of its machine, in the units of the metrics: read when somebody asks for its health.

Linux only; what cannot be read is left out. Raises nothing, logs nothing.
"""

import contextlib
import os
import resource
from pathlib import Path

_PAGE = resource.getpagesize()


def process_figures(proc: Path = Path("/proc/self")) -> dict[str, float]:
    """Give processor time since the start in seconds, resident memory in octets, open descriptors and their limit."""
    times = os.times()
    figures = {
        "cpu_s": round(times.user + times.system, 3),
        "open_files_limit": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    with contextlib.suppress(OSError, ValueError, IndexError):
        figures["memory_bytes"] = float(int((proc / "statm").read_text(encoding="ascii").split()[1]) * _PAGE)
    with contextlib.suppress(OSError):
        figures["open_files"] = float(len(os.listdir(proc / "fd")))
    return figures
