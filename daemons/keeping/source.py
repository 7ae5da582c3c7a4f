"""What a backup of a running machine holds: files as they are, a view of the databases and of what is in quarantine.

Small files are replaced by renaming, so each is read whole. Databases are copied by SQLite while they are used. The
content of held mail is linked first, then the database is copied, then the links are brought up: a file is written
before its row and removed after it, so every row of the copy has its file. Not taken: run, log, captures, recordings;
queue and journals, whose mail would be delivered a second time; counters, which go by their number. Raises `OSError`.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path, PurePosixPath

from core.disk import Disk, read_file
from core.errors import EX_NOPERM, EX_TEMPFAIL, GatepostError
from core.runtime import run
from core.sqlite import copy_database
from cpq.content import ContentFolder
from cpq.store import SqliteStore
from daemons.owner import acting_as
from tunnel.keyd.keyring import FOLDER as KEYD

_ELSEWHERE = {KEYD, "run", "log", "lost+found", "captures", "recordings", "spool"}
_BESIDE = ("-wal", "-shm", "-journal", ".lock", ".new", ".tmp")
_STAGE = ".backup-"
_ROUNDS = 5
COUNTERS = ("mid", "icid", "dcid")


class Source:
    """One machine that is copied, and the folder where its databases are laid out for that."""

    def __init__(self, machine: Path) -> None:
        self._machine = machine
        try:
            self._keyd = (machine / KEYD).lstat().st_uid or os.geteuid()
        except OSError:
            self._keyd = os.geteuid()
        self._stage = machine / "spool" / f"{_STAGE}{os.getpid()}"

    def __enter__(self) -> "Source":
        for old in self._stage.parent.glob(f"{_STAGE}*"):
            if not Path("/proc", old.name.removeprefix(_STAGE)).exists():
                shutil.rmtree(old, ignore_errors=True)  # of one that was killed
        self._stage.mkdir(mode=0o700)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._stage, ignore_errors=True)

    def files(self) -> list[tuple[str, Path, int]]:
        """Give every file of the copy: its name in the machine's folder, where it can be read, and its length."""
        found = self._plain(self._machine)
        with self.reading(KEYD):
            found += self._plain(self._machine / KEYD)
        laid = [(name, self._laid_out(name, path), size) for name, path, size in found]
        return laid + [(name, path, path.stat().st_size) for name, path in self._quarantine()]

    def reading(self, name: str) -> AbstractContextManager[None]:
        """Go by the rights of whom a file belongs to: root follows no link that the machine's users have made."""
        if os.geteuid() == os.getuid() or PurePosixPath(name).parts[:1] != (KEYD,):
            return nullcontext()
        return acting_as(self._keyd)

    def folders(self, files: list[str]) -> list[str]:
        """Give the folders of these files, the outer before the inner; '' is the machine's own."""
        found = {str(above) for name in files for above in PurePosixPath(name).parents} - {"."}
        return ["", *sorted(found)]

    def counters(self) -> dict[str, int]:
        """Give the next number of each id counter."""
        folder = self._machine / "spool" / "ids"
        numbers = {name: read_file(Disk(), folder / name).strip() for name in COUNTERS}
        return {name: int(text) for name, text in numbers.items() if text.isdigit()}

    def _plain(self, top: Path) -> list[tuple[str, Path, int]]:
        found = []
        for folder, folders, names in os.walk(top, onerror=_closed):
            here = Path(folder)
            if here == self._machine:
                folders[:] = [name for name in folders if name not in _ELSEWHERE]
            for path in (here / name for name in sorted(names) if not name.endswith(_BESIDE)):
                with suppress(FileNotFoundError):  # removed since it was listed
                    facts = path.lstat()
                    if stat.S_ISREG(facts.st_mode):
                        found.append((str(path.relative_to(self._machine)), path, facts.st_size))
        return found

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


def remedy_for_closed() -> str:
    """Say what to do about a file of the machine that may not be read."""
    return "run this as root" if os.getuid() else "`gatepost systemd install` gives it back to its user"


def _closed(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise GatepostError(f"{error.filename}: {error.strerror}; {remedy_for_closed()}", EX_NOPERM) from error
