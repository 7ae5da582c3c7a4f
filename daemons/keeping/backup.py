"""`gatepost backup`: one file with all that makes a machine, taken while its daemons run.

docs/upgrade.md says what is in it, and why the queue is not.
"""

import argparse
import contextlib
import errno
import grp
import io
import os
import stat
import sys
import tarfile
import time
from pathlib import Path
from typing import IO

import msgspec

from core import clock
from core.disk import Disk
from core.errors import EX_CANTCREAT, EX_IOERR, EX_NOPERM, EX_OK, GatepostError
from daemons.formats import release
from daemons.keeping.form import BELOW, FACTS, STEP, SUMS, Facts, Hashed
from daemons.keeping.source import Source, remedy_for_closed
from daemons.machine import Machine
from daemons.owner import acting_as, add_config, name_of, owner_of
from ops.cli.progress import progress_on


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Describe the command."""
    add_config(sub, as_owner=False)  # the file may be where only root writes; the machine is read as its users
    sub.add_argument("--to", type=Path, required=True, metavar="PATH", help="the new file, or a folder for it")
    sub.set_defaults(action=_backup)


def _backup(args: argparse.Namespace) -> int:
    owner = owner_of(args.config)
    with acting_as(owner):
        machine = Machine.open(args.config)
    target = _target(args.to, machine.serial)
    draft = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(draft, flags, 0o600), "wb", buffering=STEP) as out:
            with acting_as(owner), Source(machine.dir) as source:
                facts = _write(out, machine, source)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(target)
        Disk().fsync_directory(target.parent)
    except OSError as error:
        status = EX_NOPERM if isinstance(error, PermissionError) else EX_IOERR
        remedy = f"; {remedy_for_closed()}" if status == EX_NOPERM else ""
        raise GatepostError(f"{error.filename or target}: {error.strerror or error}{remedy}", status) from error
    finally:
        draft.unlink(missing_ok=True)
    print(
        f"{target}: {facts.files} files, {facts.octets} octets; it holds private keys: keep it as safe as the machine"
    )
    return EX_OK


def _target(given: Path, serial: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock.now()))
    target = given / f"gatepost-{serial}-{stamp}.tar" if given.is_dir() else given
    if target.exists():
        raise GatepostError(f"{target} exists; name another file, or a folder", EX_CANTCREAT)
    return target


def _write(out: IO[bytes], machine: Machine, source: Source) -> Facts:
    files = source.files()
    total = sum(size for _, _, size in files)
    facts = Facts(
        *(machine.serial, machine.role, machine.hostname, release(), clock.now(), len(files), total),
        counters=source.counters(),
    )
    progress, done = progress_on(sys.stderr), 0
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _document(archive, FACTS, facts)
        for name in source.folders([name for name, _, _ in files]):
            with source.reading(name):
                archive.addfile(_entry(BELOW + name, machine.dir / name, tarfile.DIRTYPE))
        for name, path, size in files:
            try:
                with source.reading(name):
                    sums[name] = _file(archive, machine.dir / name, name, path)
            except FileNotFoundError:
                if path != machine.dir / name:
                    raise
                continue  # a daemon has removed it since
            done += size
            progress(done, total, "octets written")
        _document(archive, SUMS, sums)
    progress(-1, 0, "")
    return facts


def _document(archive: tarfile.TarFile, name: str, what: object) -> None:
    data = msgspec.json.encode(what)
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(clock.now())
    archive.addfile(entry, io.BytesIO(data))


def _file(archive: tarfile.TarFile, origin: Path, name: str, path: Path) -> str:
    """Add one file with owner and mode of the one that it is a copy of; gives its SHA-256."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no file any more", os.fspath(path))
        entry = _entry(BELOW + name, origin if origin.exists() else path, tarfile.REGTYPE)
        entry.size = os.fstat(file.fileno()).st_size
        hashed = Hashed(file, entry.size)
        archive.addfile(entry, hashed)
    return hashed.sum


def _entry(name: str, like: Path, kind: bytes) -> tarfile.TarInfo:
    """Make an entry with owner, mode and time of a file or folder."""
    facts, entry = like.stat(), tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, stat.S_IMODE(facts.st_mode), int(facts.st_mtime)
    entry.uid, entry.gid, entry.uname = facts.st_uid, facts.st_gid, name_of(facts.st_uid)
    with contextlib.suppress(KeyError):
        entry.gname = grp.getgrgid(facts.st_gid).gr_name
    return entry
