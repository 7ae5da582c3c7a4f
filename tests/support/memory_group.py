"""A control group with a memory limit, of version 1 or 2, for the daemons of a test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.need import not_allowed
from tests.support.waiting import eventually

GROUPS = Path("/sys/fs/cgroup")
MEBIBYTE = 1 << 20


class MemoryGroup:
    """A group of processes that together get no more memory than it says."""

    def __init__(self, place: Path, limit: int) -> None:
        """Make it. Raises `OSError` where that is not allowed or this is no memory controller's hierarchy."""
        self.place = place
        self.limit = limit
        place.mkdir()
        try:
            self._set_limit()
        except OSError:
            place.rmdir()
            raise

    def _set_limit(self) -> None:
        version_1 = self.place / "memory.limit_in_bytes"
        (version_1 if version_1.exists() else self.place / "memory.max").write_text(str(self.limit))
        for swap, value in (("memory.memsw.limit_in_bytes", self.limit), ("memory.swap.max", 0)):
            if (self.place / swap).exists():
                (self.place / swap).write_text(str(value))

    @property
    def wrap(self) -> list[str]:
        """Give the command that runs another one in this group, with its own pid."""
        return ["/bin/sh", "-c", f'echo $$ > "{self.place}/cgroup.procs" && exec "$0" "$@"']

    def gone(self) -> bool:
        """Remove it. Raises `OSError` while a process that was ended is still in it."""
        self.place.rmdir()
        return True

    @property
    def kills(self) -> int:
        """Count the processes that the kernel killed because there was no more."""
        for name in ("memory.oom_control", "memory.events"):
            file = self.place / name
            if file.exists():
                return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])
        raise AssertionError(f"{self.place} does not say")


def _places(name: str) -> Iterator[Path]:
    """Name where a group may be made: below this process's own, and at the top."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = GROUPS / controllers
            yield top / path.lstrip("/") / name
            yield top / name


@contextmanager
def memory_group(limit: int) -> Iterator[MemoryGroup]:
    """Make a group, empty again at the end; skips where that is impossible, but on CI fails."""
    group, why = None, "there is no memory controller"
    for place in _places(f"gatepost-test-{os.getpid()}"):
        try:
            group = MemoryGroup(place, limit)
            break
        except OSError as error:
            why = str(error)
    if group is None:
        not_allowed(f"no control group with a memory limit can be made: {why}")
    try:
        yield group
    finally:
        eventually(group.gone, f"{group.place} is empty", despite=(OSError,))
