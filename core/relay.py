"""What children write, passed on to this process's standard error line by line, with the name of who wrote it.

Used by `core/child.py`. A child is never kept waiting: its pipe is read whatever becomes of the line. One thread
writes, since standard error may be a pipe that nobody empties; while it cannot, lines gather up to a limit, further
ones are dropped and counted, and the count is said as soon as there is room.
"""

import asyncio
import contextlib
import os
import queue
import threading
from typing import Final

LINE_LIMIT: Final = 16 * 1024
_WAITING: Final = 2_000
_STDERR: Final = 2
_END_S: Final = 1.0


class Relay:
    """The way of all lines to one descriptor."""

    def __init__(self, descriptor: int = _STDERR, waiting: int = _WAITING) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(waiting)
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="relay", daemon=True)
        self._thread.start()

    async def pass_on(self, name: str, stream: asyncio.StreamReader) -> None:
        """Read a child's lines until it closes them; those that do not begin with its name get it."""
        while True:
            try:
                line = await stream.readline()
            except ValueError:
                line = f"(a line of more than {LINE_LIMIT} bytes is left out)\n".encode()
            if not line:
                return
            self.put(name, line)

    def put(self, name: str, line: bytes) -> None:
        """Take one line."""
        mark = f"{name}: ".encode()
        text = line.rstrip(b"\r\n")
        self.take((text if text.startswith(mark) else mark + text) + b"\n")

    def take(self, line: bytes) -> None:
        """Take one whole line as it is."""
        try:
            if self._dropped:
                self._lines.put_nowait(f"{self._dropped} lines were dropped: nobody read them\n".encode())
                self._dropped = 0
            self._lines.put_nowait(line)
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """Write what is left, if that does not take long."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_END_S)
        self._thread.join(_END_S)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError):
                while line:
                    line = line[os.write(self._descriptor, line) :]
