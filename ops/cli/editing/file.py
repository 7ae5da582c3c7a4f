"""Files that table commands read and write for their caller: `configuration/` of the machine, or the command's own
standard input and output for `-`.

Names are plain file names: no folder, nothing hidden, no link is followed. A file that only its owner may read, such as
one that `saveconfig --plain` wrote or an administrator left, is for administrators. Raises `GatepostError`: 64 for a
name, 66 for a file that cannot be read, 65 for one that is too large or no text, 73 where nothing can be written, 77
for a file of administrators.
"""

import asyncio
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_NOPERM, GatepostError
from ops.cli.account import Role
from ops.cli.argument import UsageProblem
from ops.cli.registry import Call, Document, Render

STREAM = "-"
MOST_OCTETS = 16 << 20
"""Largest file that is imported."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")


def path_of(call: Call, name: str) -> Path:
    """Give the path of a file of that name."""
    if call.appliance.files is None:
        raise GatepostError("this machine has no folder for files", EX_CANTCREAT)
    if not _NAME.fullmatch(name):
        raise UsageProblem(f"{name!r}: give the plain name of a file in {call.appliance.files}")
    return call.appliance.files / name


async def read_octets(call: Call, name: str, most: int = MOST_OCTETS) -> bytes:
    """Read a file, or standard input, whole: at most so many octets."""
    if name == STREAM:
        data = await call.stdin()
        if not data:
            raise GatepostError("nothing came on standard input; nothing was changed", EX_NOINPUT)
    else:
        data = await asyncio.to_thread(_read, path_of(call, name), most, _administers(call))
    if len(data) > most:
        raise GatepostError(f"{name} is larger than {most >> 20} MiB", EX_DATAERR)
    return data


async def read_text(call: Call, name: str, most: int = MOST_OCTETS) -> str:
    """Read a file whole, as text."""
    data = await read_octets(call, name, most)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise GatepostError(f"line {line}: {name} is no UTF-8 text", EX_DATAERR) from None


def _administers(call: Call) -> bool:
    return call.caller.role is Role.ADMINISTRATOR


def _guard(path: Path, facts: os.stat_result, administrator: bool) -> None:
    """Raise what keeps a caller from a file that is there."""
    if not stat.S_ISREG(facts.st_mode):
        raise GatepostError(f"{path} is not a plain file", EX_NOINPUT)
    if not administrator and not facts.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        raise GatepostError(f"{path} is for administrators: only its owner may read it", EX_NOPERM)


def _read(path: Path, most: int, administrator: bool) -> bytes:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            _guard(path, os.fstat(file.fileno()), administrator)
            return file.read(most + 1)
    except OSError as error:
        raise GatepostError(f"{path} cannot be read: {error.strerror}", EX_NOINPUT) from None


async def write_text(call: Call, name: str, text: str) -> Path:
    """Write a file whole, in the place of one that is there."""
    path = path_of(call, name)
    await asyncio.to_thread(_write, path, text, _administers(call))
    return path


async def put_out(call: Call, name: str, text: str, **facts: Any) -> Document:
    """Put a text where its caller wants it: into the document for standard output, else into a file."""
    if name == STREAM:
        return {"text": text, **facts}
    return {"file": str(await write_text(call, name, text)), **facts}


def text_or(said: Callable[[Document], str]) -> Render:
    """Make the renderer of a text that was put out: the text, or what is said of its file."""

    def render(document: Document, width: int) -> str:
        return str(document["text"]) if "text" in document else said(document)

    return render


def _write(path: Path, text: str, administrator: bool) -> None:
    try:
        disk = Disk()
        disk.make_directory(path.parent)
        if os.path.lexists(path):
            _guard(path, path.lstat(), administrator)
        facts = path.parent.stat()
        owner = (facts.st_uid, facts.st_gid) if os.geteuid() == 0 else None
        replace_file(disk, path, text.encode(), owner=owner)
    except OSError as error:
        raise GatepostError(f"{path} cannot be written: {error.strerror}", EX_CANTCREAT) from None
