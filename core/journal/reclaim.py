"""The end of a segment: the reader acknowledges it, then the owner removes its content files and recycles it.

Acknowledging is cumulative: a number N says that nothing of any generation up to N is needed any more. Segments go
strictly oldest first, each removal durable before the next, so what is left on the disk is always an unbroken end of
the journal: an outcome never goes before the accepted record that it belongs to, and no message can seem to be
without an outcome because the segment with its outcome went first.
"""

from contextlib import suppress
from pathlib import Path

from core.disk import Disk, read_file, replace_file
from core.journal.ledger import Ledger
from core.journal.segment import CONTENT_DIRECTORY, SPARE, segment_path
from core.journal.spare import Spares
from core.killpoint import killpoint

NAME = "acknowledged"


def acknowledged(directory: Path, disk: Disk | None = None) -> int:
    """Give the newest generation that the reader needs no more, 0 if there is none."""
    text = read_file(disk or Disk(), directory / NAME).strip()
    return int(text) if text.isdigit() else 0


def acknowledge(directory: Path, generation: int, disk: Disk | None = None) -> None:
    """Say, durably, that nothing in `generation` or any older one is needed any more. Reader's side, blocking.

    Everything there must be imported, and content that is still needed copied, linked or moved away, all of it
    durably. `Tail.acknowledgeable` says how far the journal's own part of this is true.
    """
    disk = disk or Disk()
    if generation > acknowledged(directory, disk):
        replace_file(disk, directory / NAME, b"%d\n" % generation)
        killpoint("journal.acknowledged")


def reclaim(disk: Disk, directory: Path, ledger: Ledger, spares: Spares, current: int) -> int:
    """Remove what was acknowledged, up to but not including the segment in use; gives how many segments went.

    Raises `OSError`; the rest is done the next time. A crash at any point leaves an acknowledged segment that the
    next recovery finds and removes again.
    """
    upto = acknowledged(directory, disk)
    gone = 0
    for generation in ledger.generations():
        if generation > upto or generation == current:
            break
        for name in ledger.spills(generation):
            disk.unlink(directory / CONTENT_DIRECTORY / name)
        killpoint("journal.content-removed")
        spare = directory / f"{generation:016d}{SPARE}"
        with suppress(FileNotFoundError):  # renamed before, when the step after it failed
            disk.rename(segment_path(directory, generation), spare)
        disk.fsync_directory(directory)
        killpoint("journal.recycled")
        ledger.drop(generation)
        spares.give(spare)
        gone += 1
    return gone
