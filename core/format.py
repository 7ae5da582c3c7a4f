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
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.disk import Disk, read_file, replace_file
from core.errors import EX_CONFIG, GatepostError

NAME = "format.json"
"""In the folder `state`."""
COPY = "format.json.copy"
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
    """Read the record of a machine; empty for one from before there was one. Raises `FormatRefused`, `OSError`.

    One that is damaged is read from its copy: a machine is not to stand still for it, nor a newer store to be hidden.
    """
    path, copy = state / NAME, state / COPY
    if not path.exists() and not copy.exists():
        return Written()
    found = _decoded(path) or _decoded(copy)
    if found is None:
        text = f"{path}: damaged, and {COPY} too; if no release newer than this one was ever started here, remove both"
        raise FormatRefused(f"{text}; else install that release (docs/upgrade.md)")
    return found


def _decoded(path: Path) -> Written | None:
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(read_file(Disk(), path), type=Written)
    return None


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
    if _is_written(state, known, release):
        return
    disk = Disk()
    state.mkdir(parents=True, exist_ok=True, mode=0o750)
    lock = disk.lock(state / f"{NAME}.lock", wait=True)
    try:
        if not _is_written(state, known, release):
            data = msgspec.json.encode(_merged(read_written(state), known, release)) + b"\n"
            replace_file(disk, state / COPY, data)
            replace_file(disk, state / NAME, data)
    finally:
        disk.close(lock)


def _is_written(state: Path, known: Mapping[str, Layout], release: str) -> bool:
    """Tell whether both copies say all that they have to."""
    found = read_written(state)
    return found == _merged(found, known, release) == _decoded(state / NAME) == _decoded(state / COPY)


def _merged(written: Written, known: Mapping[str, Layout], release: str) -> Written:
    """Give what is to be written: of each store the newer layout, for it may be in use."""
    newer = {name: layout for name, layout in known.items() if layout > written.layouts.get(name, Layout(0, 0))}
    return Written(release, {**written.layouts, **newer})
