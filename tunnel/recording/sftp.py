"""Follows SFTP version 3 (draft-ietf-secsh-filexfer-02) in both directions and notes each file and operation.

Packets are put together, at most `PACKET` octets of each; larger ones are passed over. A packet that is not what the
draft says is noted, at most `NOTED` times, and passed over as well. Only a stream that can be no SFTP at all is Lost.
What is remembered is bounded: open files, and requests without an answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tunnel.recording.transfer import Lost, Note, Stretch, shown

VERSION = 3
PACKET = 512 * 1024
ABSURD = 16 << 20
NOTED = 20
FILES = 1024
REQUESTS = 8192
SIZES = 1024

INIT, OPEN, CLOSE, READ, WRITE, FSTAT, FSETSTAT, EXTENDED = 1, 3, 4, 5, 6, 8, 10, 200
PATHS = {7: "lstat", 9: "setstat", 11: "opendir", 13: "remove", 14: "mkdir", 15: "rmdir", 16: "realpath"} | {
    17: "stat",
    19: "readlink",
}
PAIRS = {18: "rename", 20: "symlink"}
PAIRED_EXTENSIONS = {b"posix-rename@openssh.com", b"hardlink@openssh.com"}
VERSION_REPLY, STATUS, HANDLE, DATA, ATTRS = 2, 101, 102, 103, 105
STATUSES = (
    "ok",
    "end of file",
    "no such file",
    "permission denied",
    "failure",
    "bad message",
    "no connection",
    "connection lost",
    "unsupported",
)
EOF = 1
_READ_FLAG, _WRITE_FLAG, _APPEND_FLAG, _TRUNCATE_FLAG, _NEW_FLAG = 1, 2, 4, 16, 32
_SIZE_ATTRIBUTE = 1
_HANDLE = 256
"""Octets of a handle, by the draft; who makes longer ones is not followed, and fills no memory with them."""
_QUIET = "quiet"
"""A request that says nothing about a file, like the next part of a listing."""


class Malformed(Exception):
    """A packet that ends too early."""


class Frames:
    """Puts packets together from octets, however they are cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skip = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give the whole packets without their length; of one that is too long only the type. Raises Lost."""
        buffer = self._buffer
        buffer += data
        at = 0
        while True:
            passed = min(self._skip, len(buffer) - at)
            self._skip -= passed
            at += passed
            if self._skip or len(buffer) - at < 5:
                break
            length = int.from_bytes(buffer[at : at + 4], "big")
            if length == 0 or length > ABSURD:
                raise Lost(f"a packet of {length} octets")
            if length > PACKET:
                yield bytes(buffer[at + 4 : at + 5])
                self._skip = length + 4
            elif len(buffer) - at - 4 < length:
                break
            else:
                yield bytes(buffer[at + 4 : at + 4 + length])
                at += 4 + length
        del buffer[:at]


class Fields:
    """Reads the fields of one packet. Raises Malformed when there are not enough octets."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = 1

    def number(self, octets: int = 4) -> int:
        """Read an unsigned number."""
        return int.from_bytes(self._take(octets), "big")

    def string(self) -> bytes:
        """Read a string."""
        return self._take(self.number())

    def handle(self) -> bytes:
        """Read the handle of an open file. Raises Malformed for one that is longer than any may be."""
        handle = self.string()
        if len(handle) > _HANDLE:
            raise Malformed
        return handle

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._packet):
            raise Malformed
        taken = self._packet[self._at : end]
        self._at = end
        return taken


@dataclass(slots=True)
class _File:
    """One open file."""

    path: str
    flags: int
    read: Stretch = field(default_factory=Stretch)
    written: Stretch = field(default_factory=Stretch)
    end: int | None = None
    """The lowest offset at which nothing was left to read."""
    size: int | None = None
    set_size: int | None = None
    """What its size was set to: stock scp writes over what was there and then cuts the rest off."""

    @property
    def leftover(self) -> str:
        """Say why the file may hold more or less than was written."""
        if self.set_size is not None:
            return "" if self.set_size == self.written.until else "its size was set"
        return "" if self.flags & (_TRUNCATE_FLAG | _NEW_FLAG) else "the file may have held something before"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that waits for its answer."""

    kind: str
    facts: dict[str, Any]
    handle: bytes = b""
    offset: int = 0
    flags: int = 0


class SftpTap:
    """Follows one channel."""

    def __init__(self, note: Note) -> None:
        self._note = note
        self._requests, self._replies = Frames(), Frames()
        self._asked: dict[int, _Asked] = {}
        self._files: dict[bytes, _File] = {}
        self._sizes: dict[str, int] = {}
        self._noted = 0

    def sent(self, data: bytes) -> None:
        """Take what the engineer's client sent."""
        for packet in self._requests.feed(data):
            self._guarded(packet, self._request)

    def came(self, data: bytes) -> None:
        """Take what the server sent."""
        for packet in self._replies.feed(data):
            self._guarded(packet, self._reply)

    def end(self) -> None:
        """The channel is over; files that are still open are said to be cut."""
        for file in self._files.values():
            self._closed(file, "cut", "the session ended before it was closed")
        self._files.clear()

    def _guarded(self, packet: bytes, take: Any) -> None:
        try:
            take(packet[0], Fields(packet))
        except Malformed:
            self._odd(f"a packet of type {packet[0]} that is too long or too short")

    def _odd(self, why: str) -> None:
        self._noted += 1
        if self._noted <= NOTED:
            self._note("sftp", {"odd": why})

    def _request(self, kind: int, fields: Fields) -> None:
        if kind == INIT:
            return
        number = fields.number()
        asked = self._read(kind, fields)
        if len(self._asked) >= REQUESTS:
            self._asked.pop(next(iter(self._asked)))
            self._odd("too many requests without an answer; one is not followed")
        self._asked[number] = asked

    def _read(self, kind: int, fields: Fields) -> _Asked:
        """Read what is asked for."""
        if kind in (READ, WRITE):
            return self._moved(kind, fields)
        if kind in (CLOSE, FSTAT, FSETSTAT):
            return self._on_handle(kind, fields)
        if kind == OPEN:
            path, flags = shown(fields.string()), fields.number()
            return _Asked("open", {"path": path}, flags=flags)
        if kind in PATHS:
            return _Asked(PATHS[kind], {"path": shown(fields.string())})
        if kind in PAIRS:
            return _Asked(PAIRS[kind], _pair(fields))
        return self._extended(fields) if kind == EXTENDED else _Asked(_QUIET, {})

    def _moved(self, kind: int, fields: Fields) -> _Asked:
        handle, offset = fields.handle(), fields.number(8)
        if kind == READ:
            return _Asked("read", {}, handle, offset)
        data = fields.string()
        if (file := self._files.get(handle)) is not None:
            file.written.add(offset, data)
        return _Asked("write", {}, handle, offset)

    def _on_handle(self, kind: int, fields: Fields) -> _Asked:
        handle = fields.handle()
        if kind == FSETSTAT and fields.number() & _SIZE_ATTRIBUTE:
            size = fields.number(8)
            if (file := self._files.get(handle)) is not None:
                file.set_size = size
            return _Asked("fsetstat", {"size": size}, handle)
        return _Asked({CLOSE: "close", FSTAT: "fstat", FSETSTAT: "fsetstat"}[kind], {}, handle)

    def _extended(self, fields: Fields) -> _Asked:
        name = fields.string()
        facts: dict[str, Any] = {"name": shown(name)[:64]}
        if name in PAIRED_EXTENSIONS:
            facts |= _pair(fields)
        elif name == b"copy-data":
            fields.string(), fields.number(8), fields.number(8)
            if (file := self._files.get(fields.string())) is not None:
                file.written.partial = "it was copied on the appliance"
        return _Asked("extended", facts)

    def _reply(self, kind: int, fields: Fields) -> None:
        if kind == VERSION_REPLY:
            if (version := fields.number()) != VERSION:
                raise Lost(f"SFTP version {version}")
            self._note("sftp", {"op": "init", "version": version})
            return
        asked = self._asked.pop(fields.number(), None)
        if asked is None:
            self._odd("an answer to nothing")
        elif asked.kind == "open":
            self._opened(asked, kind, fields)
        elif asked.kind in ("read", "write", "close"):
            self._progress(asked, kind, fields)
        else:
            self._answered(asked, kind, fields)

    def _opened(self, asked: _Asked, kind: int, fields: Fields) -> None:
        facts = {"protocol": "sftp", "path": asked.facts["path"], "flags": _flags(asked.flags)}
        if kind != HANDLE:
            self._note("file-open", {**facts, "status": _status(kind, fields)})
            return
        self._note("file-open", {**facts, "status": "ok"})
        handle = fields.handle()
        if len(self._files) >= FILES:
            self._odd("too many open files; one is not followed")
            return
        file = _File(asked.facts["path"], asked.flags, size=self._sizes.get(asked.facts["path"]))
        if asked.flags & _APPEND_FLAG:
            file.written.partial = "it was appended to"
        self._files[handle] = file

    def _progress(self, asked: _Asked, kind: int, fields: Fields) -> None:
        file = self._files.get(asked.handle)
        if file is None:
            return
        if asked.kind == "close":
            del self._files[asked.handle]
            self._closed(file, _status(kind, fields))
        elif kind == DATA:
            file.read.add(asked.offset, fields.string())
        elif kind == STATUS:
            code = fields.number()
            if asked.kind == "write" and code:
                file.written.partial = "parts of it were not taken"
            elif code == EOF:
                file.end = asked.offset if file.end is None else min(file.end, asked.offset)

    def _answered(self, asked: _Asked, kind: int, fields: Fields) -> None:
        if kind == ATTRS and fields.number() & _SIZE_ATTRIBUTE:
            self._size(asked, fields.number(8))
        if asked.kind in ("fstat", _QUIET):
            return
        facts = {"op": asked.kind, **asked.facts, "status": _status(kind, fields)}
        if (file := self._files.get(asked.handle)) is not None:
            facts["path"] = file.path
        self._note("sftp", facts)

    def _size(self, asked: _Asked, size: int) -> None:
        if (file := self._files.get(asked.handle)) is not None:
            file.size = size
        elif asked.kind in ("stat", "lstat"):
            self._sizes.pop(asked.facts["path"], None)
            self._sizes[asked.facts["path"]] = size
            if len(self._sizes) > SIZES:
                self._sizes.pop(next(iter(self._sizes)))

    def _closed(self, file: _File, status: str, why: str = "") -> None:
        if file.read.octets or not file.flags & _WRITE_FLAG:
            if file.read.until not in (file.end, file.size):
                file.read.partial = file.read.partial or "it was not read to its end"
            self._moved_one(file, "download", file.read, status, why)
        if file.written.octets or file.flags & _WRITE_FLAG:
            file.written.partial = file.written.partial or file.leftover
            self._moved_one(file, "upload", file.written, status, why)

    def _moved_one(self, file: _File, direction: str, stretch: Stretch, status: str, why: str) -> None:
        stretch.partial = stretch.partial or why
        facts = {"protocol": "sftp", "direction": direction, "path": file.path}
        self._note("file-close", {**facts, **stretch.finished(), "status": status})


def _pair(fields: Fields) -> dict[str, Any]:
    return {"path": shown(fields.string()), "target": shown(fields.string())}


def _status(kind: int, fields: Fields) -> str:
    if kind != STATUS:
        return "ok"
    code = fields.number()
    return STATUSES[code] if code < len(STATUSES) else f"status {code}"


def _flags(flags: int) -> str:
    names = {"read": _READ_FLAG, "write": _WRITE_FLAG, "append": _APPEND_FLAG, "truncate": _TRUNCATE_FLAG}
    return " ".join(name for name, bit in names.items() if flags & bit)
