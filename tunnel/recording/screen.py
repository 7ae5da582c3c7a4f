"""What a watcher sees who joins late, and the bounded queue through which it sees the rest.

A `Screen` keeps the raw output since the terminal was last cleared, at most `KEPT` octets of it, and hands what
comes to its watchers. A watcher that does not keep up is dropped: it never slows the session. Loop thread only.
"""

import asyncio
import re
from collections import deque

KEPT = 64 * 1024
QUEUE = 256 * 1024
WATCHERS = 16
"""Watchers of one session at a time."""

_CLEAR = re.compile(rb"\x1bc|\x1b\[[23]J|\x1b\[H\x1b\[J|\x1b\[1;1H\x1b\[J|\x1b\[\?(?:47|1047|1049)[hl]")
_MODE = re.compile(rb"\x1b\[\?(\d{1,5})([hl])")
_SPLIT = 16
"""An escape sequence that matters here is shorter than this, so the end of what is kept is looked at again."""

Frame = tuple[str, bytes]
"""`("o", octets)` or `("r", b"COLSxROWS")`."""


class Watch:
    """One watcher's queue; an async iterator of frames that ends with the session or when it is dropped."""

    def __init__(self, screen: "Screen", first: list[Frame]) -> None:
        self._screen = screen
        self._frames: deque[Frame] = deque(first)
        self._octets = 0
        self._news = asyncio.Event()
        self.ended = ""
        """Why there is no more: `session ended`, `too slow`, `left`; '' while there is."""

    def put(self, frame: Frame) -> None:
        """Add a frame, or drop the watcher if it has too many already."""
        self._octets += len(frame[1])
        if self._octets > QUEUE:
            self._frames.clear()
            self.end("too slow")
            return
        self._frames.append(frame)
        self._news.set()

    @property
    def ready(self) -> bool:
        """Whether there is a frame to be had at once."""
        return bool(self._frames)

    def end(self, why: str) -> None:
        """No more frames come; the watcher still reads what is in its queue."""
        self.ended = self.ended or why
        self._screen.leave(self)
        self._news.set()

    def close(self) -> None:
        """Stop watching."""
        self.end("left")

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> Frame:
        while not self._frames:
            if self.ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        frame = self._frames.popleft()
        self._octets = max(0, self._octets - len(frame[1]))
        return frame


class Screen:
    """The output since the last clear, and who watches it."""

    def __init__(self, width: int, height: int, kept: int = KEPT) -> None:
        self._size = (width, height)
        self._most = kept
        self._kept = bytearray()
        self._modes: dict[bytes, bytes] = {}
        self._watches: set[Watch] = set()
        self._over = False

    def output(self, data: bytes) -> None:
        """Take what the far end sent."""
        looked = max(0, len(self._kept) - _SPLIT)
        self._kept += data
        if cleared := [found.start() for found in _CLEAR.finditer(self._kept, looked)]:
            self._drop(cleared[-1])
        if len(self._kept) > self._most:
            self._drop(len(self._kept) - self._most // 2)
        self._tell(("o", bytes(data)))

    def resize(self, width: int, height: int) -> None:
        """Take a new size."""
        self._size = (width, height)
        self._tell(("r", b"%dx%d" % self._size))

    def watch(self) -> Watch | None:
        """Begin to watch: first the screen as it is, then what comes. None if there are too many already."""
        if len(self._watches) >= WATCHERS:
            return None
        watch = Watch(self, [("r", b"%dx%d" % self._size), ("o", self.restore())])
        if self._over:
            watch.end("session ended")
        else:
            self._watches.add(watch)
        return watch

    def restore(self) -> bytes:
        """Give what makes a terminal show the screen as it is, whatever it showed before."""
        modes = b"".join(b"\x1b[?%s%s" % item for item in self._modes.items())
        return b"\x1bc" + modes + bytes(self._kept)

    def leave(self, watch: Watch) -> None:
        """Forget a watcher."""
        self._watches.discard(watch)

    def end(self) -> None:
        """The session is over."""
        self._over = True
        for watch in tuple(self._watches):
            watch.end("session ended")

    def _drop(self, count: int) -> None:
        """Forget the oldest octets, but not the modes that they set (other screen, cursor, …)."""
        for mode, value in _MODE.findall(bytes(self._kept[:count])):
            self._modes[mode] = value
            if len(self._modes) > 64:
                self._modes.pop(next(iter(self._modes)))
        del self._kept[:count]

    def _tell(self, frame: Frame) -> None:
        for watch in tuple(self._watches):
            watch.put(frame)
