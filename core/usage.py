"""What the folders of a machine take on its disk: for alerts, and for `diagnostic disk_usage`.

Looking blocks. Folders and files that cannot be read, or are gone meanwhile, count as nothing.
"""

import heapq
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FILES: Final = 500_000
"""Files of one folder that are looked at; of more, the rest is not counted and the text says so."""
_NAMED: Final = 5
FOLDERS: Final[Mapping[str, str]] = {
    "queue": "spool/queue",
    "quarantine": "spool/quarantine",
    "logs": "log",
    "captures": "captures",
    "recordings": "recordings",
    "configuration": "configuration",
}
"""The folders that [disk_quota] has a key for, by it."""


@dataclass(frozen=True)
class Usage:
    """What a folder takes: octets on the disk, its largest files, and whether there were too many to count."""

    octets: int
    largest: tuple[tuple[int, str], ...]
    cut: bool = False


def usage_of(folder: Path) -> Usage:
    """Count a folder with all below it; one that is not there takes nothing. Links are not followed."""
    largest: list[tuple[int, str]] = []
    octets = seen = 0
    for entry in _files(folder):
        seen += 1
        if seen > _FILES:
            return Usage(octets, tuple(sorted(largest, reverse=True)), cut=True)
        try:
            size = entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
        octets += size
        heapq.heappush(largest, (size, os.path.relpath(entry.path, folder)))
        if len(largest) > _NAMED:
            heapq.heappop(largest)
    return Usage(octets, tuple(sorted(largest, reverse=True)))


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        yield entry
        except OSError:
            continue


def size_text(octets: float) -> str:
    """Show a size for people: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if octets < 1024:
            return f"{octets:.0f} {unit}" if unit == "B" else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} GiB"
