"""`gatepost restore`: make a machine of a backup, in a folder where there is none.

Everything is written and checked before the folder becomes a machine, all at once (place.py); what fails leaves it as
empty as it was. The id counters go on far beyond what the old machine can have given since the backup.
"""

import argparse
import contextlib
import grp
import hashlib
import os
import pwd
import sys
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

from core import clock
from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_OK, GatepostError
from core.format import NAME, check_layouts, read_written
from daemons.formats import LAYOUTS, release
from daemons.initial import make_folders
from daemons.keeping.form import BELOW, CONFIG, FACTS, STEP, SUMS, Facts
from daemons.keeping.place import OTHERS, Place, place_at
from daemons.keeping.source import COUNTERS
from ops.cli.progress import progress_on

AHEAD = 1_000_000
PER_S = 10_000
"""More messages a second than any machine takes: that many numbers are passed over for each since the backup."""


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command."""
    sub.add_argument("--from", dest="file", type=Path, required=True, metavar="FILE", help="what `backup` made")
    sub.add_argument("--dir", type=Path, required=True, metavar="DIR", help="a folder that is empty or is not there")
    sub.set_defaults(action=_restore)


def _restore(args: argparse.Namespace) -> int:
    folder = args.dir.absolute()
    try:
        with place_at(folder) as place, tarfile.open(args.file, "r:") as archive:
            facts = _unpack(archive, place, str(args.file))
            _number(place, facts)
            place.make()
    except BaseException as error:
        raise _told(error, args.file, folder) from error
    print(
        f"{folder / CONFIG}: {facts.hostname}, serial {facts.serial}, as it was {_age(facts.made_at)} ago;"
        f" look it over: gatepost check --config {folder / CONFIG}"
    )
    return EX_OK


def _told(error: BaseException, file: Path, folder: Path) -> BaseException:
    if isinstance(error, FileNotFoundError) and error.filename == os.fspath(file):
        return GatepostError(f"{file}: there is no such file", EX_NOINPUT)
    if isinstance(error, tarfile.TarError | msgspec.DecodeError | EOFError | ValueError | OverflowError):
        return GatepostError(f"{file}: is no backup, or not the whole of one: {error}", EX_DATAERR)
    if isinstance(error, OSError):
        return GatepostError(f"{folder}: {error.strerror or error}; nothing is left there", EX_CANTCREAT)
    return error


def _age(made_at: float) -> str:
    minutes = max(0, int(clock.now() - made_at)) // 60
    return f"{minutes // 1440} d {minutes // 60 % 24} h {minutes % 60} min"


def _unpack(archive: tarfile.TarFile, place: Place, where: str) -> Facts:
    """Write every file, check them all; gives what the backup says of itself."""
    facts, folder = _facts(archive, where), place.inner
    progress, done = progress_on(sys.stderr), 0
    found, sums = dict[str, str](), dict[str, str]()
    while (entry := archive.next()) is not None:
        if entry.name == SUMS:
            sums = msgspec.json.decode(_whole(archive, entry), type=dict[str, str])
            break
        name = _safe(entry)
        if name == ".":
            place.mode = _mode(entry.mode)
            place.owner = _owner(entry) if os.geteuid() == 0 else place.owner
            continue
        if entry.isdir():
            _make(entry, folder / name)
            continue
        found[name] = _put(archive, entry, folder / name)
        done += entry.size
        progress(done, facts.octets, "octets read")
        if name == f"state/{NAME}":
            check_layouts(read_written(folder / "state"), LAYOUTS, Path(where), release())
    progress(-1, 0, "")
    wrong = sorted(name for name in sums.keys() | found.keys() if sums.get(name) != found.get(name))
    if not sums or wrong or CONFIG not in found:
        raise GatepostError(f"{where}: is damaged: {', '.join(wrong[:5]) or 'it ends too early'}", EX_DATAERR)
    return facts


def _facts(archive: tarfile.TarFile, where: str) -> Facts:
    first = archive.next()
    if first is None or first.name != FACTS or first.size > STEP:
        raise tarfile.ReadError(f"it does not begin with {FACTS}")
    facts = msgspec.json.decode(_whole(archive, first), type=Facts)
    if facts.form != 1:
        raise GatepostError(f"{where}: was made by release {facts.release}; restore it with that", EX_DATAERR)
    return facts


def _whole(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    return _opened(archive, entry).read()


def _opened(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
    if file is None:
        raise tarfile.ReadError(f"{entry.name!r} is no file as backups have it")
    return file


def _safe(entry: tarfile.TarInfo) -> str:
    """Give the name of a file below the machine's folder; one that leads elsewhere ends it all."""
    name = PurePosixPath(f"{entry.name}/".removeprefix(BELOW))
    if (
        not (entry.isreg() or entry.isdir())
        or not f"{entry.name}/".startswith(BELOW)
        or name.is_absolute()
        or ".." in name.parts
        or name.parts[:1] in {(other,) for other in OTHERS}
        or not entry.name.isprintable()
    ):
        raise tarfile.ReadError(f"{entry.name!r} does not belong in a backup")
    return str(name)


def _put(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> str:
    """Write one file, with owner and mode where this user may give them; gives its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    source, total = _opened(archive, entry), hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        while data := source.read(STEP):
            file.write(data)
            total.update(data)
        _own(entry, descriptor)
        file.flush()
        os.fsync(descriptor)
    return total.hexdigest()


def _make(entry: tarfile.TarInfo, path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _own(entry, descriptor)
    finally:
        os.close(descriptor)


def _own(entry: tarfile.TarInfo, descriptor: int) -> None:
    """Give a file the mode that it had, and where this user may, the owner."""
    if os.geteuid() == 0:
        os.fchown(descriptor, *_owner(entry))
    os.fchmod(descriptor, _mode(entry.mode))


def _owner(entry: tarfile.TarInfo) -> tuple[int, int]:
    """Give user and group of an entry: by name, else by number."""
    uid, gid = entry.uid, entry.gid
    with contextlib.suppress(KeyError):
        uid = pwd.getpwnam(entry.uname).pw_uid
    with contextlib.suppress(KeyError):
        gid = grp.getgrnam(entry.gname).gr_gid
    return uid, gid


def _mode(mode: int) -> int:
    """Give a mode without what no file of ours has: set-user-id, set-group-id, writable by everybody."""
    return mode & 0o1775


def _number(place: Place, facts: Facts) -> None:
    """Make the folders that are missing, and counters that give no number of the old machine again."""
    ids = place.inner / "spool" / "ids"
    for path in make_folders(place.inner, facts.role):
        os.chown(path, *place.owner)
    if not ids.exists():
        ids.mkdir(mode=0o750)
        os.chown(ids, *place.owner)
    passed = AHEAD + int(PER_S * max(0.0, clock.now() - facts.made_at))
    for name in COUNTERS:
        number = b"%d\n" % (facts.counters.get(name, 1) + passed)
        replace_file(Disk(), ids / name, number, owner=place.owner)
