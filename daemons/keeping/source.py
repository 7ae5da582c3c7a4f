"""What a backup of a running machine holds: files as they are, a view of the databases and of what is in quarantine.

Small files are replaced by renaming, so each is read whole. Databases are copied by SQLite while they are used. The
content of held mail is linked first, then the database is copied, then the links are brought up: a file is written
before its row and removed after it, so every row of the copy has its file. Not taken: run, log, captures, recordings;
queue and journals, whose mail would be delivered a second time; counters, which go by their number. Raises `OSError`.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from core.disk import Disk, read_file
from core.errors import EX_NOPERM, EX_TEMPFAIL, GatepostError
from core.runtime import run
from core.sqlite import copy_database
from cpq.content import ContentFolder
from cpq.store import SqliteStore

_ELSEWHERE = {"run", "log", "captures", "recordings", "spool"}
_BESIDE = ("-wal", "-shm", "-journal", ".lock", ".new", ".tmp")
_STAGE = ".backup-"
_ROUNDS = 5
COUNTERS = ("mid", "icid", "dcid")


class Source:
    """One machine that is copied, and the folder where its databases are laid out for that."""

    def __init__(self, machine: Path) -> None:
        self._machine = machine
        self._stage = machine / "spool" / f"{_STAGE}{os.getpid()}"

    def __enter__(self) -> "Source":
        for old in self._stage.parent.glob(f"{_STAGE}*"):
            if not Path("/proc", old.name.removeprefix(_STAGE)).exists():
                shutil.rmtree(old, ignore_errors=True)  # of one that was killed
        self._stage.mkdir(mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._stage, ignore_errors=True)

    def files(self) -> list[tuple[str, Path]]:
        """Give every file of the copy: its name in the machine's folder, and where it can be read."""
        found = [(str(path.relative_to(self._machine)), path) for path in self._plain()]
        return [(name, self._laid_out(name, path)) for name, path in found] + list(self._quarantine())

    def folders(self, files: list[tuple[str, Path]]) -> list[str]:
        """Give the folders of these files, the outer before the inner; '' is the machine's own."""
        found = {str(above) for name, _ in files for above in PurePosixPath(name).parents} - {"."}
        return ["", *sorted(found)]

    def counters(self) -> dict[str, int]:
        """Give the next number of each id counter."""
        folder = self._machine / "spool" / "ids"
        numbers = {name: read_file(Disk(), folder / name).strip() for name in COUNTERS}
        return {name: int(text) for name, text in numbers.items() if text.isdigit()}

    def _plain(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self._machine, onerror=_closed):
            here = Path(folder)
            if here == self._machine:
                folders[:] = [name for name in folders if name not in _ELSEWHERE]
            paths = (here / name for name in sorted(names) if not name.endswith(_BESIDE))
            yield from (path for path in paths if path.is_file() and not path.is_symlink())

    def _laid_out(self, name: str, path: Path) -> Path:
        """Give a file that does not change: of a database a copy."""
        if path.suffix != ".db":
            return path
        copy = self._stage / name.replace("/", "-")
        copy_database(path, copy)
        return copy

    def _quarantine(self) -> Iterator[tuple[str, Path]]:
        home, stage = self._machine / "spool" / "quarantine", self._stage / "quarantine"
        if not (home / "quarantine.db").exists():
            return
        ContentFolder(stage / "content")
        for _ in range(_ROUNDS):
            _link(home / "content", stage / "content")
            copy_database(home / "quarantine.db", stage / "quarantine.db")
            _link(home / "content", stage / "content")
            held = content_names(stage / "quarantine.db")
            paths = {name: ContentFolder(stage / "content").path(name) for name in held}
            if all(path.exists() for path in paths.values()):
                break
        else:
            raise GatepostError(f"{home}: changes faster than it can be copied; try again", EX_TEMPFAIL)
        for path in (stage / "quarantine.db", *sorted(paths.values())):
            yield f"spool/quarantine/{path.relative_to(stage)}", path


def content_names(database: Path) -> set[str]:
    """Name the content files that a quarantine's rows need."""
    store = SqliteStore(database)
    try:
        return run(store.arrivals.content_names())
    finally:
        store.close()


def _link(source: Path, target: Path) -> None:
    for path in source.glob("*/*"):
        place = target / path.relative_to(source)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        try:
            os.link(path, place)
        except (FileExistsError, FileNotFoundError):
            continue  # linked before, or gone from the quarantine since it was listed


def _closed(error: OSError) -> None:
    raise GatepostError(f"{error.filename}: {error.strerror}; run this as root", EX_NOPERM) from error
