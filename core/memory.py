"""How much of the memory that they may use a set of processes holds, from /proc and the control groups; giving it back.

Counted is what only a process's end gives back: its anonymous and shared pages and what of it was swapped out. The
file cache is not, for the kernel takes it back by itself. The limit is the machine's memory or, if smaller, that of a
control group (version 1 or 2) above the process. Linux only; what cannot be read counts as nothing. Raises nothing.
"""

import ctypes
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_COUNTED: Final = frozenset({"RssAnon", "RssShmem", "VmSwap"})
_NO_THREAD: Final = "can't start new thread"
"""How the interpreter says it; the error has no type of its own."""
_UNLIMITED: Final = 1 << 60
"""Version 1 writes "no limit" as a number near the largest that there is."""


def give_back() -> None:
    """Give memory that was freed back to the system; some milliseconds, for a thread.

    The C library keeps it for the next use: after a flood that is most of what a process holds, for good. Where it is
    not the GNU one nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def is_shortage(error: BaseException) -> bool:
    """Tell whether an error says that memory or threads are used up at the moment."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_THREAD in str(error))


class Memory:
    """Reads below `proc` and `groups`, which are elsewhere in a test."""

    def __init__(self, limit: int = 0, *, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        """With `limit` octets that is what counts as all, whatever the machine has."""
        self._limit = limit
        self._proc = proc
        self._groups = groups

    def utilization(self, pids: Iterable[int]) -> float:
        """Give the share of memory in use by these processes, in per cent of the narrowest limit over them."""
        held = {pid: self.held(pid) for pid in pids}
        all_of_it = sum(held.values())
        if self._limit:
            return 100 * all_of_it / self._limit
        by_group: dict[Path, int] = defaultdict(int)
        for pid, octets in held.items():
            for group in self._above(pid):
                by_group[group] += octets
        shares = [100 * octets / limit for group, octets in by_group.items() if (limit := _group_limit(group))]
        total = _kilobytes(self._proc / "meminfo", {"MemTotal"})
        return max([*shares, 100 * all_of_it / total if total else 0.0])

    def held(self, pid: int) -> int:
        """Give the octets that a process holds, 0 if there is none of that number."""
        return _kilobytes(self._proc / str(pid) / "status", _COUNTED)

    def _above(self, pid: int) -> list[Path]:
        """List the control groups over a process, nearest first."""
        found: list[Path] = []
        for line in _text(self._proc / str(pid) / "cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                top = self._groups / controllers
                here = top / path.lstrip("/")
                while here != top and top in here.parents:
                    found.append(here)
                    here = here.parent
                found.append(top)
        return found


def _group_limit(group: Path) -> int:
    for name in ("memory.max", "memory.limit_in_bytes"):
        text = _text(group / name).strip()
        if text.isdigit() and 0 < int(text) < _UNLIMITED:
            return int(text)
    return 0


def _kilobytes(path: Path, names: frozenset[str] | set[str]) -> int:
    total = 0
    for line in _text(path).splitlines():
        name, _, rest = line.partition(":")
        if name in names:
            total += int(rest.split()[0]) << 10
    return total


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
