"""One channel's recording, as the session that is recorded sees it: calls that fill a buffer and never wait.

Made by `recorder.py`, which takes the buffer to disk. What passes goes to whoever watches, and to the file: as output
and input, or, where files are transferred, through a tap that notes each file instead of its octets. A disk that is
slow or full is answered by policy: a strict session is told to end, any other goes on with a gap. Loop thread only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import clock
from tunnel.recording.screen import Screen
from tunnel.recording.subject import Policy, Subject
from tunnel.recording.tape import Words, line, mark

EARLY_FLUSH = 64 * 1024
"""A buffer this full is taken to disk at once."""
HIGH, LOW = 1 << 20, 256 * 1024
"""The session is asked to hold its output back from `HIGH` on, until there is less than `LOW`."""
BOUND = 8 << 20
"""What a session may leave in memory; then its policy decides."""
STDERR = 1

Told = Callable[[str], None]


class Recording:
    """Takes what happens on one channel."""

    def __init__(
        self, subject: Subject, policy: Policy, *, failed: Told, hold: Callable[[bool], None], wake: Callable[[], None]
    ) -> None:
        self.subject = subject
        self.policy = policy
        self.path: Path | None = None
        """None for a session that is not recorded, as its policy allows."""
        self.started_at = clock.now()
        self.screen = Screen(*subject.size)
        self.close_facts: dict[str, Any] | None = None
        """Set when the session is over."""
        self.pending = 0
        """Octets that are not on the disk."""
        self._begun = clock.monotonic()
        self._failed, self._hold, self._wake = failed, hold, wake
        self._told = self._held = False
        self._lost = 0
        self._words = {"o": Words(), "i": Words()}
        self._stream: int | None = None
        self._buffer: list[bytes] = []

    @property
    def at_s(self) -> float:
        """Seconds since the beginning."""
        return clock.monotonic() - self._begun

    def output(self, data: bytes, datatype: int | None = None) -> None:
        """Add what the far end sent; datatype 1 is standard error."""
        if datatype != self._stream:
            self._stream = datatype
            self.marker("stream", name="stderr" if datatype == STDERR else "stdout")
        self.screen.output(data)
        self._text("o", data)

    def input(self, data: bytes, echo: bool | None = None) -> None:
        """Add what the engineer sent. echo: whether the far terminal shows it; None = not known."""

    def resize(self, *size: int) -> None:
        """Add a change of the terminal's size: columns, rows, and pixels where they are known."""
        width, height = size[:2]
        self.screen.resize(width, height)
        self._add(line(self.at_s, "r", f"{width}x{height}"))
        self.marker("window", size=size)

    def marker(self, kind: str, **facts: Any) -> None:
        """Add a note about something that is neither output nor input."""
        self._add(mark(self.at_s, kind, facts))

    def finish(self, **facts: Any) -> None:
        """The session is over; the recorder closes, hashes and signs the file."""
        if self.close_facts is None:
            for code in self._words:
                self._text(code, b"", final=True)
            self.close_facts = {"how": "ended", **facts}
            self.screen.end()
            self._wake()

    def take(self) -> bytes:
        """Hand over what has gathered (recorder)."""
        buffer, self._buffer = self._buffer, []
        return b"".join(buffer)

    def written(self, waiting: int) -> None:
        """Learn how much the disk has not taken (recorder)."""
        self.pending = waiting + sum(map(len, self._buffer))
        if self._lost and self.pending < LOW:
            lost, self._lost = self._lost, 0
            self.marker("gap", why="the disk did not keep up", octets=lost)
        if self._held and self.pending < LOW:
            self._held = False
            self._hold(False)

    def fail(self, reason: str) -> None:
        """Tell a strict session, once, that it has to end because it cannot be recorded any more (recorder)."""
        if self.policy is Policy.STRICT and not self._told and self.close_facts is None:
            self._told = True
            self.marker("recording-failed", why=reason)
            self._failed(reason)

    def _text(self, code: str, data: bytes, *, final: bool = False) -> None:
        text, kept = self._words[code].take(data, final=final)
        if text:
            self._add(line(self.at_s, code, text))
        if kept:
            self.marker("octets", base64=kept)

    def _add(self, event: bytes) -> None:
        if self.path is None or self.close_facts is not None:
            return
        if self.pending > BOUND:
            self._lost += len(event)
            self.fail("the disk does not keep up")
            return
        self._buffer.append(event)
        self.pending += len(event)
        if self.pending > EARLY_FLUSH:
            self._wake()
        if self.pending > HIGH and not self._held:
            self._held = True
            self._hold(True)
