"""Received content: a sink that keeps small messages in memory and writes large ones to a file of their own.

A session gets a `Content` from `ContentStore.new()` (in practice `Journal.content()`), writes what arrives and
hands it to the journal, which from then on owns it. All methods belong to the loop thread; the files are written
and synced by a few worker threads, so content of any size never holds the loop.

Memory: a message stays in memory up to `inline_bytes` while the process as a whole holds less than
`memory_bytes`; else it is spilled, but for its header section, which counts against the same budget. A spilling
message whose writes lag behind says so with `congested`: the listener stops reading until `on_drained` is called. So
memory stays flat whatever the size.

Errors of the disk do not raise out of `write`: they are kept in `failure`, the rest is swallowed, the file is
removed, and the journal refuses the message (451).
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from core.disk import Disk
from core.killpoint import killpoint

HEAD_BYTES = 128 * 1024
"""The most that is kept of a header section."""
READ_BYTES = 256 * 1024
_EMPTY_LINE = b"\r\n\r\n"
WORKERS = 3


@dataclass(frozen=True)
class ContentSettings:
    """Limits of one process, in octets."""

    inline_bytes: int = 256 * 1024
    memory_bytes: int = 64 * 1024 * 1024
    high_water_bytes: int = 1024 * 1024
    low_water_bytes: int = 256 * 1024


class Content:
    """The content of one message on its way in: octets after dot removal, nothing added."""

    __slots__ = (
        "_chunks",
        "_closed",
        "_durable",
        "_head",
        "_held",
        "_inflight",
        "_paused",
        "_seeks_end",
        "_settled",
        "_spill",
        "_store",
        "failure",
        "on_drained",
        "size",
    )

    def __init__(self, store: "ContentStore") -> None:
        self._store = store
        self._chunks: list[bytes] = []
        self._held = 0
        self._inflight = False
        self._paused = False
        self._closed = False
        self._durable = False
        self._head = b""
        self._seeks_end = True
        """Whether the end of the header section has not come yet."""
        self._spill: _Spill | None = None
        self._settled: Callable[[OSError | None], None] | None = None
        self.size = 0
        self.failure: OSError | None = None
        self.on_drained: Callable[[], None] | None = None
        """Called once each time `congested` goes from true to false."""

    def write(self, chunk: bytes) -> None:
        """Take the next octets. `bytes` are kept without a copy; do not pass a buffer that changes later."""
        length = len(chunk)
        self.size += length
        if self._closed or self.failure is not None:
            return
        store = self._store
        self._chunks.append(chunk)
        self._held += length
        store.held += length
        if self._spill is None:
            if self.size <= store.settings.inline_bytes and store.held <= store.settings.memory_bytes:
                return
            self._spill = _Spill(store.disk, store.next_path())
            self._keep_head(b"".join(self._chunks))
        elif self._seeks_end:
            self._keep_head(chunk)
        self._push()

    def _keep_head(self, more: bytes) -> None:
        """Keep on keeping the beginning, up to the empty line behind the header section."""
        before = len(self._head)
        head = self._head + more[: HEAD_BYTES - before]
        end = _section_end(head, max(0, before - len(_EMPTY_LINE)))
        self._seeks_end = not end and len(head) < HEAD_BYTES
        self._head = head[:end] if end else head
        self._store.held += len(self._head) - before

    @property
    def congested(self) -> bool:
        """Whether the sender should be made to wait until `on_drained`."""
        if self._spill is None or not self._held:
            return False
        settings = self._store.settings
        self._paused = self._held > settings.high_water_bytes or self._store.held > settings.memory_bytes
        return self._paused

    @property
    def inline(self) -> bytes | None:
        """All octets, or None when they were spilled to `file`."""
        if self._spill is not None:
            return None
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0] if self._chunks else b""

    @property
    def head(self) -> bytes:
        """The beginning: all of it when inline, else the header section and the empty line, 128 KiB at most."""
        return self._head if self._spill is not None else self.inline or b""

    @property
    def file(self) -> Path | None:
        """Where spilled octets are; complete and durable only once `settle` has called back."""
        return self._spill.path if self._spill is not None else None

    @property
    def crc(self) -> int:
        """CRC-32 of spilled octets, right once `settle` has called back."""
        return self._spill.crc if self._spill is not None else 0

    def pieces(self) -> list[bytes]:
        """Give the octets of inline content as they came, without joining them."""
        return self._chunks

    def chunks(self) -> Iterator[bytes]:
        """Give all octets from the start; reads the file of settled content (blocking, up to 256 KiB a step)."""
        if self._spill is None:
            yield from self._chunks
        else:
            yield from self._spill.chunks(self.size)

    def settle(self, settled: Callable[[OSError | None], None]) -> None:
        """Have spilled octets on the disk, file and name synced, then call back in the loop thread.

        Inline content is called back before this returns, and so is content that was settled before. Called by the
        journal, and before it by whoever has to read all octets first; not again while a call is waiting.
        """
        if self._spill is None or self.failure is not None or self._durable:
            settled(self.failure)
            return
        self._settled = settled
        self._push()

    def discard(self) -> None:
        """Forget the octets and remove the file. Harmless when called twice or late."""
        if self._closed:
            return
        self.release()
        if self._spill is not None and not self._inflight:
            self._store.submit(self._spill.remove)

    def release(self) -> None:
        """Give the memory back and leave the file: it belongs to a journal record now."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        self._store.held -= self._held + len(self._head)
        self._held = 0
        self._head = b""
        self._chunks = []

    def _push(self) -> None:
        """Give what has gathered to a worker; one write in flight, so octets stay in order."""
        spill = self._spill
        if self._inflight or spill is None:
            return
        chunks, self._chunks = self._chunks, []
        settled = self._settled
        if not chunks and settled is None:
            return
        self._inflight = True
        loop = asyncio.get_running_loop()

        def work() -> None:
            failure: OSError | None = None
            try:
                spill.write(chunks)
                if settled is not None:
                    spill.sync()
            except OSError as error:
                failure = error
                spill.remove()
            loop.call_soon_threadsafe(self._written, sum(map(len, chunks)), settled is not None, failure)

        self._store.submit(work)

    def _written(self, length: int, final: bool, failure: OSError | None) -> None:
        self._inflight = False
        if self._closed:
            if self._spill is not None:
                self._store.submit(self._spill.remove)
            return
        self._held -= length
        self._store.held -= length
        if failure is not None:
            self.failure = failure
            self._let_go()
        if self._settled is not None and (final or failure is not None):
            self._durable = failure is None
            settled, self._settled = self._settled, None
            settled(failure)
        elif failure is None:
            self._push()
        if self._paused and self._held <= self._store.settings.low_water_bytes:
            self._paused = False
            if self.on_drained is not None:
                self.on_drained()


def _section_end(head: bytes, start: int) -> int:
    """Give the offset behind the empty line that ends a header section, looked for from `start` on; 0 if none came."""
    if head.startswith((b"\r\n", b"\n")):
        return head.index(b"\n") + 1
    ends = [(head.find(mark, start), len(mark)) for mark in (_EMPTY_LINE, b"\n\n")]
    return min((at + length for at, length in ends if at >= 0), default=0)


class _Spill:
    """The file of one large message, used by one worker at a time."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.path = path
        self.crc = 0
        self._disk = disk
        self._fd = -1
        self._offset = 0

    def write(self, chunks: list[bytes]) -> None:
        if self._fd < 0:
            self._fd = self._disk.open(self.path, create=True, write=True)
        if not chunks:
            return
        self._offset += self._disk.write(self._fd, chunks, self._offset)
        for chunk in chunks:
            self.crc = crc32(chunk, self.crc)

    def sync(self) -> None:
        killpoint("content.written")
        self._disk.fdatasync(self._fd)
        fd, self._fd = self._fd, -1
        self._disk.close(fd)
        self._disk.fsync_directory(self.path.parent)
        killpoint("content.synced")

    def remove(self) -> None:
        fd, self._fd = self._fd, -1
        try:
            if fd >= 0:
                self._disk.close(fd)
            self._disk.unlink(self.path)
        except OSError:
            return  # no record names the file: the journal's next recovery removes it

    def chunks(self, size: int) -> Iterator[bytes]:
        fd = self._disk.open(self.path)
        try:
            for offset in range(0, size, READ_BYTES):
                yield self._disk.read(fd, min(READ_BYTES, size - offset), offset)
        finally:
            self._disk.close(fd)


class ContentStore:
    """Makes the `Content` objects of one process and holds their common budget."""

    def __init__(self, directory: Path, settings: ContentSettings | None = None, disk: Disk | None = None) -> None:
        self.directory = directory
        self.settings = settings or ContentSettings()
        self.disk = disk or Disk()
        self.held = 0
        """Octets in memory, of all contents together."""
        self._prefix = os.urandom(6).hex()
        self._made = 0
        self._workers = ThreadPoolExecutor(WORKERS, "content")

    def new(self) -> Content:
        """Start an empty content."""
        return Content(self)

    def next_path(self) -> Path:
        """Give a file name that was never used in this directory."""
        self._made += 1
        return self.directory / f"{self._prefix}-{self._made}.content"

    def submit(self, work: Callable[[], None]) -> None:
        """Run something that blocks on a worker thread."""
        self._workers.submit(work)

    def close(self) -> None:
        """Wait for the workers to finish what they have."""
        self._workers.shutdown()
