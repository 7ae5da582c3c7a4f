"""Where a machine's configuration lies, and reading and writing files there: whole, synced, with the rights of the old.

Used by the other modules of this package. A file that was read is kept until it changes on the disk, so that large
tables are parsed once. Raises `ConfigError` for what is no TOML, `GatepostError` 73 where nothing can be written.
"""

import contextlib
import os
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.disk import Disk, read_text, replace_file
from core.errors import EX_CANTCREAT, EX_TEMPFAIL, ConfigError, GatepostError, Problem
from core.switch import content_digest
from core.toml import loads

Tables = dict[str, Any]
"""A configuration as plain TOML types."""
_KEPT = 16


@dataclass(frozen=True)
class Reading:
    """One file as it was read. Nobody changes `tables`; who wants to takes `copy_of` them."""

    text: str
    tables: Tables
    digest: str


def copy_of(value: Any) -> Any:
    """Copy plain TOML values, tables and lists to the bottom."""
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    return [copy_of(item) for item in value] if isinstance(value, list | tuple) else value


def parse(text: str, file: Path) -> Reading:
    """Read TOML. Raises `ConfigError` with line and column of its fault."""
    try:
        return Reading(text, loads(text), content_digest(text.encode()))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Problem(str(file), "", f"not valid TOML: {error}")]) from error


class Place:
    """The folder of one machine: `gatepost.toml` and what this package keeps beside it."""

    def __init__(self, config: Path, disk: Disk | None = None) -> None:
        self.config = config
        self.disk = disk or Disk()
        self._read: dict[Path, tuple[tuple[int, int, int], Reading]] = {}

    @property
    def kept(self) -> Path:
        """Versions, what waits to be confirmed, the lock: not in configuration/, where support reads and writes."""
        return self.config.parent / "state" / "configuration"

    @property
    def candidate(self) -> Path:
        """What is about to be `gatepost.toml`, beside it, so that a rename makes it that."""
        return self.config.with_name(f"{self.config.name}.candidate")

    @property
    def run(self) -> Path:
        """The control sockets of the daemons."""
        return self.config.parent / "run"

    @property
    def versions(self) -> Path:
        """The numbered versions."""
        return self.kept / "versions"

    @property
    def pending(self) -> Path:
        """The pending copies, one per login."""
        return self.config.parent / "state" / "pending"

    def lent(self, name: str) -> bool:
        """Tell whether a name in the configuration means a file of `configuration/` that others than root may read."""
        path = self.config.parent / name
        if path.parent != self.config.parent / "configuration" or path.name in {"", "..", "."}:
            return False
        try:
            mode = path.lstat().st_mode
        except OSError:
            return False
        return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))

    def read(self, path: Path) -> Reading:
        """Read a file, or give what was read of it when it was the same. Raises `ConfigError`."""
        try:
            mark = _mark(path)
            kept = self._read.get(path)
            if kept is not None and kept[0] == mark:
                return kept[1]
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError([Problem(str(path), "", f"cannot be read: {reason}")]) from error
        reading = parse(text, path)
        if len(self._read) >= _KEPT:
            self._read.clear()
        self._read[path] = (mark, reading)
        return reading

    def in_force(self) -> Reading:
        """Read `gatepost.toml`."""
        return self.read(self.config)

    def write(self, path: Path, text: str, *, private: bool = False) -> None:
        """Put a text in the place of a file, synced, with mode and owner of `gatepost.toml`; `private`: 0600.

        Raises status 73; the old file is whole then.
        """
        try:
            facts = self.config.stat()
            self.disk.make_directory(path.parent)
            mode = 0o600 if private else stat.S_IMODE(facts.st_mode)
            owner = (facts.st_uid, facts.st_gid) if os.geteuid() == 0 else None
            if owner is not None and path.parent.stat().st_uid == 0 != facts.st_uid:
                os.chown(path.parent, *owner)
            replace_file(self.disk, path, text.encode(), mode=mode, owner=owner)
        except OSError as error:
            with contextlib.suppress(OSError):
                self.disk.unlink(path.with_name(f"{path.name}.new"))
            raise GatepostError(f"{path} cannot be written: {error.strerror}; nothing changed", EX_CANTCREAT) from error

    @contextlib.contextmanager
    def locked(self, path: Path, *, wait: bool = True, taken: str = "") -> Iterator[None]:
        """Hold the lock on a file while the block runs. Raises status 75 with `taken` if it may not `wait`."""
        try:
            self.disk.make_directory(path.parent)
            lock = self.disk.lock(path, wait=wait)
        except BlockingIOError:
            raise GatepostError(taken, EX_TEMPFAIL) from None
        except OSError as error:
            raise GatepostError(f"{path} cannot be locked: {error.strerror}", EX_CANTCREAT) from error
        try:
            if os.geteuid() == 0:
                with contextlib.suppress(FileNotFoundError):  # whoever reads the file says so
                    facts = self.config.stat()
                    os.fchown(lock, facts.st_uid, facts.st_gid)
            yield
        finally:
            self.disk.close(lock)


def _mark(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
