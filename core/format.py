"""Layouts: which release may use what another one has written, for every store of a machine.

A layout has two numbers. `version` is what a release writes; `compatible` the lowest version that a release must know
to use it all the same. A change that older releases can pass over (a column with a default, a field at the end, a new
key) raises `version` only; any other raises `compatible` with it. A new kind of store that older releases may leave
alone begins with `compatible` 0. Databases and journals carry their own numbers too; `state/format.json` holds those
of all stores of the machine and is written before a newer release opens the first of them, so that an older one is
refused before it has touched anything.

Used by the roots through `Machine`, by `core/database.py` and by the journal. Raises `FormatRefused` (78).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.disk import Disk, read_file, replace_file
from core.errors import EX_CONFIG, GatepostError

NAME = "format.json"
"""In the folder `state`."""
REMEDY = "install the newer release again, or restore a backup of this one (docs/upgrade.md); nothing was changed"


class Layout(NamedTuple):
    """The numbers of one store."""

    version: int
    compatible: int = 1


class FormatRefused(GatepostError):
    """A store was written by a release that this one cannot share it with."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EX_CONFIG)


class Written(msgspec.Struct, frozen=True):
    """What the record of a machine says."""

    release: str = ""
    """The release that was started here last."""
    layouts: dict[str, Layout] = {}
    """The newest layout that each store may have."""


def too_new(where: str, found: Layout, known: int) -> str:
    """Give why a release that knows a store up to version `known` leaves it alone, '' if it may use it."""
    if found.compatible <= known:
        return ""
    return (
        f"{where}: has layout {found.version}, which needs a release that knows layout {found.compatible};"
        f" this one knows {known}: {REMEDY}"
    )


def read_written(state: Path) -> Written:
    """Read the record of a machine; empty for one from before there was one. Raises `FormatRefused`, `OSError`."""
    path = state / NAME
    data = read_file(Disk(), path)
    try:
        return msgspec.json.decode(data, type=Written) if data else Written()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FormatRefused(f"{path}: damaged: {error}; restore it from a backup (docs/upgrade.md)") from error


def check_layouts(written: Written, known: Mapping[str, Layout], folder: Path, release: str) -> None:
    """Refuse a machine of which a store is too new for `release`. Raises `FormatRefused`."""
    unknown = [
        f"{name} {found.version} (here {known.get(name, Layout(0)).version})"
        for name, found in written.layouts.items()
        if found.compatible > known.get(name, Layout(0)).version
    ]
    if unknown:
        raise FormatRefused(
            f"{folder}: was used by release {written.release or 'unknown'} with layouts that release {release} does"
            f" not know: {', '.join(unknown)}; {REMEDY}"
        )


def stamp(state: Path, known: Mapping[str, Layout], release: str) -> None:
    """Write down, durably, what `release` is about to write, if the record does not say so. Raises `OSError`."""
    if _merged(read_written(state), known, release) is None:
        return
    disk = Disk()
    state.mkdir(parents=True, exist_ok=True, mode=0o750)
    lock = disk.lock(state / f"{NAME}.lock", wait=True)
    try:
        merged = _merged(read_written(state), known, release)
        if merged is not None:
            replace_file(disk, state / NAME, msgspec.json.encode(merged) + b"\n")
    finally:
        disk.close(lock)


def _merged(written: Written, known: Mapping[str, Layout], release: str) -> Written | None:
    """Give what is to be written, None if that is there: of each store the newer layout, for it may be in use."""
    newer = {name: layout for name, layout in known.items() if layout > written.layouts.get(name, Layout(0, 0))}
    if not newer and written.release == release:
        return None
    return Written(release, {**written.layouts, **newer})
