"""Which directory a process with several siblings owns, and what becomes of those whose owner is gone.

Gateways are numbered `gateway-0`, `gateway-1` …: each takes the first free directory, then opens those whose lock
nobody holds and that still have records, runs what is unfinished there through its own pipeline, and keeps them
open so that acknowledged segments are removed. Used by the roots of daemons that may run several times.
"""

from pathlib import Path

from core.disk import Disk
from core.journal.error import JournalBusy
from core.journal.journal import Journal, JournalSettings
from core.journal.segment import generations

MOST = 256


def open_free(parent: Path, prefix: str, settings: JournalSettings | None = None, disk: Disk | None = None) -> Journal:
    """Open the first `prefix-N` under `parent` that nobody owns. Raises `JournalBusy` if all are taken."""
    for number in range(MOST):
        try:
            return Journal.open(parent / f"{prefix}-{number}", settings, disk)
        except JournalBusy:
            continue
    raise JournalBusy(f"{parent}: {MOST} journals named {prefix}-N are in use")


def open_orphans(
    parent: Path, prefix: str, settings: JournalSettings | None = None, disk: Disk | None = None
) -> list[Journal]:
    """Open every `prefix-N` that nobody owns and that still has segments."""
    disk = disk or Disk()
    adopted: list[Journal] = []
    for directory in _with_segments(parent, prefix, disk):
        try:
            adopted.append(Journal.open(directory, settings, disk))
        except JournalBusy:
            continue
    return adopted


def without_owner(parent: Path, prefix: str, disk: Disk | None = None) -> set[Path]:
    """Name every `prefix-N` with segments that nobody owns at this moment. Raises `OSError`."""
    disk = disk or Disk()
    found: set[Path] = set()
    for directory in _with_segments(parent, prefix, disk):
        try:
            disk.close(disk.lock(directory / "lock"))
        except BlockingIOError:
            continue
        found.add(directory)
    return found


def _with_segments(parent: Path, prefix: str, disk: Disk) -> list[Path]:
    directories = [parent / name for name in sorted(disk.names(parent)) if name.rpartition("-")[0] == prefix]
    return [directory for directory in directories if generations(disk, directory)]
