"""Files that support may fetch and leave, by SFTP and SCP: three folders, no way out of them, every file noted.

Administrators have the same by the console's SFTP, and one thing more: what only its owner may read in
`configuration/`, such as one saved with its passwords. For support such files are not there.

`captures/`, `configuration/` and `logs/` (the machine's `log/`) can be listed and fetched. Into `configuration/` a
new file may be put; it appears under its name when it is complete, and never replaces one that is there. Nothing can
be removed, renamed, linked or changed. Every name is opened one folder after the other without following links, so
neither `..` nor a link in any place leads out. Each file that passed is told to `noted` with its size and SHA-256.
"""

import asyncio
import errno
import os
import re
import secrets
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh
from asyncssh import SFTPAttrs, SFTPName
from asyncssh.stream import SSHServerStreamSession

from tunnel.service.transfer import Transfer, fetched, settled, turn

FOLDERS: Mapping[str, str] = {"captures": "captures", "configuration": "configuration", "logs": "log"}
"""What support sees, and where it is in the machine's folder."""
WRITABLE = "configuration"
FILE_LIMIT = 256 << 20
"""Octets that may be put into one file."""
SESSION_LIMIT = 1 << 30
"""Octets that one session may put and fetch each."""
OPEN_FILES = 16
_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._ -]{0,127}")
_PART = b".part"
_DEEPEST = 8
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

Noted = Callable[[str, str, int, str, bool], None]
"""Takes direction (`get`, `put`), path, octets, SHA-256 of the file, and whether the whole of it passed."""


class SupportFiles(asyncssh.SFTPServer):
    """What one SFTP or SCP session can do."""

    def __init__(self, chan: Any, machine: Path, noted: Noted, *, private: bool = False) -> None:
        """`private`: files that only their owner may read are seen, and made, too."""
        super().__init__(chan)
        self._machine = machine
        self._noted = noted
        self._private = private
        self._open: set[Transfer] = set()
        self._octets = {"get": 0, "put": 0}
        self.broken_off = False
        """Set when the client is gone: what it did not close itself is not complete."""

    # --- names ---------------------------------------------------------------------------------------------

    def realpath(self, path: bytes) -> bytes:
        return b"/" + b"/".join(_parts(path))

    async def stat(self, path: bytes) -> SFTPAttrs:
        return await asyncio.to_thread(self._stat, path)

    lstat = stat

    def fstat(self, file_obj: object) -> SFTPAttrs:
        return _attrs(os.fstat(_transfer(file_obj).descriptor))

    async def scandir(self, path: bytes) -> AsyncIterator[SFTPName]:
        for name, facts in await asyncio.to_thread(self._list, path):
            yield SFTPName(name, attrs=_attrs(facts))

    # --- content -------------------------------------------------------------------------------------------

    async def open(self, path: bytes, pflags: int, attrs: SFTPAttrs) -> Transfer:
        if len(self._open) >= OPEN_FILES:
            raise asyncssh.SFTPFailure("too many files are open")
        writing = pflags & (asyncssh.FXF_WRITE | asyncssh.FXF_APPEND | asyncssh.FXF_CREAT | asyncssh.FXF_TRUNC)
        transfer = await asyncio.to_thread(self._create if writing else self._fetch, path)
        self._open.add(transfer)
        return transfer

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        transfer = _transfer(file_obj)
        async with turn(transfer):
            data = await asyncio.to_thread(os.pread, transfer.descriptor, min(size, 256 * 1024), offset)
        self._count(transfer, "get", len(data))
        return data

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        transfer = _transfer(file_obj)
        if transfer.folder < 0:
            raise asyncssh.SFTPPermissionDenied("this file is open for reading")
        if offset + len(data) > FILE_LIMIT:
            transfer.failed = True
            raise asyncssh.SFTPFailure(f"a file may have {FILE_LIMIT >> 20} MiB")
        self._count(transfer, "put", len(data))
        async with turn(transfer):
            try:
                written = await asyncio.to_thread(os.pwrite, transfer.descriptor, data, offset)
                if written < len(data):
                    raise OSError(errno.ENOSPC, "the disk is full")
                return written
            except OSError:
                transfer.failed = True
                raise

    async def close(self, file_obj: object) -> None:
        transfer = _transfer(file_obj)
        self._open.discard(transfer)
        async with turn(transfer):
            transfer.closed = True
            transfer.failed = transfer.failed or self.broken_off
            passed = await asyncio.to_thread(settled if transfer.folder >= 0 else fetched, transfer)
        self._noted(passed.way, passed.path, passed.octets, passed.sha256, passed.whole)

    async def exit(self) -> None:
        """The session is over; what was not closed is not complete."""
        self.broken_off = True
        for transfer in tuple(self._open):
            with suppress(OSError, asyncssh.SFTPError):
                await self.close(transfer)
        with suppress(OSError):
            # scp asks for the status of its sftp subsystem, which the library does not send.
            self.channel.exit(0)

    # --- what clients do around an upload, and which changes nothing here ------------------------------------

    def setstat(self, path: bytes, attrs: SFTPAttrs) -> None:
        """Leave a file as it is: times and modes are ours."""

    def fsetstat(self, file_obj: object, attrs: SFTPAttrs) -> None:
        """Leave a file as it is."""

    def fsync(self, file_obj: object) -> None:
        """A file is synced when it is closed."""

    # --- what nobody may do --------------------------------------------------------------------------------

    def open56(self, path: bytes, desired_access: int, flags: int, attrs: SFTPAttrs) -> object:
        raise _refused()

    def lsetstat(self, path: bytes, attrs: SFTPAttrs) -> None:
        raise _refused()

    def remove(self, path: bytes) -> None:
        raise _refused()

    def mkdir(self, path: bytes, attrs: SFTPAttrs) -> None:
        raise _refused()

    def rmdir(self, path: bytes) -> None:
        raise _refused()

    def rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise _refused()

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        raise _refused()

    def readlink(self, path: bytes) -> bytes:
        raise _refused()

    def symlink(self, oldpath: bytes, newpath: bytes) -> None:
        raise _refused()

    def link(self, oldpath: bytes, newpath: bytes) -> None:
        raise _refused()

    def lock(self, file_obj: object, offset: int, length: int, flags: int) -> None:
        raise _refused()

    def unlock(self, file_obj: object, offset: int, length: int) -> None:
        raise _refused()

    def statvfs(self, path: bytes) -> Any:
        raise _refused()

    def fstatvfs(self, file_obj: object) -> Any:
        raise _refused()

    def map_path(self, path: bytes) -> bytes:
        """Give no real path to anything of the base class that was not thought of here."""
        raise _refused()

    # --- in threads ----------------------------------------------------------------------------------------

    def _stat(self, path: bytes) -> SFTPAttrs:
        parts = _parts(path)
        if not parts:
            return _directory()
        with self._folder(parts[:-1] if len(parts) > 1 else parts) as folder:
            facts = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False) if len(parts) > 1 else os.fstat(folder)
        if not self._shown(parts[0], facts):
            raise asyncssh.SFTPNoSuchFile("no such file")
        return _attrs(facts)

    def _shown(self, top: bytes, facts: os.stat_result) -> bool:
        if stat.S_ISREG(facts.st_mode) and top == WRITABLE.encode() and not self._private:
            return bool(facts.st_mode & (stat.S_IRGRP | stat.S_IROTH))
        return stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)

    def _list(self, path: bytes) -> list[tuple[bytes, os.stat_result | None]]:
        parts = _parts(path)
        if not parts:
            return [(name.encode(), None) for name in FOLDERS]
        with self._folder(parts) as folder, os.scandir(folder) as entries:
            found = [(os.fsencode(entry.name), entry.stat(follow_symlinks=False)) for entry in entries]
        plain = [each for each in found if self._shown(parts[0], each[1])]
        return sorted((name, facts) for name, facts in plain if not name.startswith(b"."))

    def _fetch(self, path: bytes) -> Transfer:
        parts = _parts(path)
        if len(parts) < 2:
            raise asyncssh.SFTPFailure("that is a folder")
        with self._folder(parts[:-1]) as folder:
            # Without O_NONBLOCK a pipe that lies there would hold the thread.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(parts[-1], flags, dir_fd=folder)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or not self._shown(parts[0], facts):
            os.close(descriptor)
            raise asyncssh.SFTPFailure("not a plain file")
        return Transfer(self.realpath(path).decode("utf-8", "replace"), descriptor)

    def _create(self, path: bytes) -> Transfer:
        parts = _parts(path)
        if len(parts) != 2 or parts[0].decode("utf-8", "replace") != WRITABLE:
            raise asyncssh.SFTPPermissionDenied(f"files may be put into /{WRITABLE} only")
        name = parts[1]
        if not _NAME.fullmatch(name) or name.endswith(_PART):
            raise asyncssh.SFTPPermissionDenied("a name is of letters, digits, blanks and . _ -")
        with self._folder(parts[:1]) as opened:
            folder = os.dup(opened)
        try:
            if name in {os.fsencode(each) for each in os.listdir(folder)}:
                raise asyncssh.SFTPFailure("there is a file of that name; it is not replaced")
            part = b"." + name[:64] + b"." + secrets.token_hex(4).encode() + _PART
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(part, flags, 0o600 if self._private else 0o640, dir_fd=folder)
        except BaseException:
            os.close(folder)
            raise
        shown = self.realpath(path).decode("utf-8", "replace")
        return Transfer(shown, descriptor, folder, part, name)

    @contextmanager
    def _folder(self, parts: list[bytes]) -> Iterator[int]:
        """Open a folder below one of ours, step by step; a link on the way is an error."""
        inside = FOLDERS.get(parts[0].decode("utf-8", "replace")) if parts else None
        if inside is None:
            raise asyncssh.SFTPNoSuchFile("there are: " + ", ".join(FOLDERS))
        if len(parts) > _DEEPEST:
            raise asyncssh.SFTPNoSuchFile("too deep")
        descriptor = os.open(self._machine, _FOLDER)
        try:
            for part in (os.fsencode(inside), *parts[1:]):
                below = os.open(part, _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _count(self, transfer: Transfer, way: str, octets: int) -> None:
        transfer.octets += octets
        self._octets[way] += octets
        if self._octets[way] > SESSION_LIMIT:
            transfer.failed = True
            raise asyncssh.SFTPFailure(f"one session may transfer {SESSION_LIMIT >> 20} MiB each way")


class FilesSession(SSHServerStreamSession[bytes]):
    """The channel of one SFTP or SCP session."""

    def __init__(self, machine: Path, noted: Noted, *, private: bool = False) -> None:
        super().__init__(None, self._made, 3, True)
        self._private = private
        self._machine = machine
        self._noted = noted
        self._files: SupportFiles | None = None

    async def read(self, datatype: int | None, n: int, exact: bool) -> bytes:
        """Take the next request only from a client that takes our answers: they would gather in memory otherwise."""
        await self.drain(None)
        return await super().read(datatype, n, exact)

    def eof_received(self) -> bool:
        self._break_off()
        return bool(super().eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self._break_off()
        super().connection_lost(exc)

    def _made(self, chan: Any) -> SupportFiles:
        self._files = SupportFiles(chan, self._machine, self._noted, private=self._private)
        return self._files

    def _break_off(self) -> None:
        if self._files is not None:
            self._files.broken_off = True


def _transfer(file_obj: object) -> Transfer:
    assert isinstance(file_obj, Transfer)
    return file_obj


def _parts(path: bytes) -> list[bytes]:
    """Give the names in a path; `.` and `..` are worked out on the text, so `..` ends at the root."""
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del parts[-1:]
        elif part not in {b"", b"."}:
            parts.append(part)
    if b"\0" in path or any(part.startswith(b".") for part in parts):
        raise asyncssh.SFTPNoSuchFile("no such file")
    return parts


def _attrs(facts: os.stat_result | None) -> SFTPAttrs:
    """Tell size, time and kind; whose file it is on the machine is nobody's business."""
    if facts is None:
        return _directory()
    if stat.S_ISDIR(facts.st_mode):
        return _directory(int(facts.st_mtime))
    at = int(facts.st_mtime)
    mode = stat.S_IFREG | 0o644
    return SFTPAttrs(type=1, size=facts.st_size, uid=0, gid=0, permissions=mode, atime=at, mtime=at, nlink=1)


def _directory(at: int = 0) -> SFTPAttrs:
    return SFTPAttrs(type=2, size=0, uid=0, gid=0, permissions=stat.S_IFDIR | 0o755, atime=at, mtime=at, nlink=1)


def _refused() -> asyncssh.SFTPPermissionDenied:
    return asyncssh.SFTPPermissionDenied("support may list and fetch files, and put new ones into /configuration")
