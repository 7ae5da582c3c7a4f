"""One channel's recording, as the session that is recorded sees it: calls that fill a buffer and never wait.

Made by `recorder.py`, which takes the buffer to disk. What passes goes to whoever watches, and to the file: as output
and input, or, where files are transferred, through a tap that notes each file instead of its octets. A disk that is
slow or full is answered by policy: a strict session is told to end, any other goes on with a gap. Loop thread only.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import clock
from core.diagnostic import incident
from tunnel.recording.keys import EchoedKeys
from tunnel.recording.screen import Screen
from tunnel.recording.subject import Policy, Subject
from tunnel.recording.tap import tap_for
from tunnel.recording.tape import Words, line, mark
from tunnel.recording.transfer import Lost, Note

EARLY_FLUSH = 64 * 1024
"""A buffer this full is taken to disk at once."""
HIGH, LOW = 1 << 20, 256 * 1024
"""The session is asked to hold its output back from `HIGH` on, until there is less than `LOW`."""
BOUND = 8 << 20
"""What a session may leave in memory; then its policy decides."""
STDERR = 1

Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Links:
    """Whom a recording tells what."""

    failed: Told
    """The session: it has to end, and why."""
    hold: Callable[[bool], None]
    """The session: hold output back (True), go on (False)."""
    wake: Callable[[], None]
    """The recorder: there is something to write."""
    transferred: Note
    """The audit log: a file was opened or closed."""


class Recording:
    """Takes what happens on one channel."""

    def __init__(self, subject: Subject, policy: Policy, links: Links, keystrokes: str = "off") -> None:
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
        self.troubled = False
        """Whether the disk has refused some of it (recorder)."""
        self._begun = clock.monotonic()
        self._links = links
        self._keystrokes = keystrokes
        self._keys = EchoedKeys()
        self._typed = 0
        self._tap = tap_for(subject.command, subject.subsystem, self._transfer)
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
            self._text("o", b"", final=True)
            self.marker("stream", name="stderr" if datatype == STDERR else "stdout")
        if datatype != STDERR and self._tapped("came", data):
            return
        self.screen.output(data)
        if self._keystrokes == "echoed":
            self._keys_out(*self._keys.shown(data, self.at_s))
        self._text("o", data)

    def input(self, data: bytes, echo: bool | None = None) -> None:
        """Add what the engineer sent. echo: whether the far terminal shows it; None = that is not known."""
        self._typed += len(data)
        if self._tapped("sent", data):
            return
        if self._keystrokes == "all" or (self._keystrokes == "echoed" and echo):
            self._text("i", data)
        elif self._keystrokes == "echoed" and (echo is False or self.subject.term_type is None):
            self._keys_out(b"", len(data))
        elif self._keystrokes == "echoed":
            self._keys_out(*self._keys.typed(data, self.at_s))

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
            self._end_tap()
            self._keys_out(b"", self._keys.tick(self.at_s, final=True))
            for code in self._words:
                self._text(code, b"", final=True)
            self.close_facts = {"how": "ended", "typed": self._typed, **facts}
            self.screen.end()
            self._links.wake()

    def take(self) -> bytes:
        """Hand over what has gathered (recorder)."""
        buffer, self._buffer = self._buffer, []
        return b"".join(buffer)

    def written(self, waiting: int) -> None:
        """Learn how much the disk has not taken (recorder)."""
        self.pending = waiting + sum(map(len, self._buffer))
        self.troubled = self.troubled and waiting > 0
        if self._lost and self.pending < LOW:
            lost, self._lost = self._lost, 0
            self.marker("gap", why="the disk did not keep up", octets=lost)
        if self._held and self.pending < LOW:
            self._held = False
            self._links.hold(False)

    def fail(self, reason: str) -> None:
        """Tell a strict session, once, that it has to end because it cannot be recorded any more (recorder)."""
        if self.policy is Policy.STRICT and not self._told and self.close_facts is None:
            self._told = True
            self.marker("recording-failed", why=reason)
            self._links.failed(reason)

    def _tapped(self, way: str, data: bytes) -> bool:
        """Let the tap follow file transfers; false where there is none (any more)."""
        if self._tap is None:
            return False
        try:
            self._tap.sent(data) if way == "sent" else self._tap.came(data)
        except Lost as lost:
            self._lose_tap(str(lost))
        except Exception as error:  # whatever is wrong with it, the session goes on
            self._lose_tap(f"incident {incident('recording of a file transfer', error)}")
        return self._tap is not None

    def _lose_tap(self, why: str) -> None:
        self._end_tap()
        self.marker("not-followed", why=why)

    def _end_tap(self) -> None:
        tap, self._tap = self._tap, None
        if tap is not None:
            with contextlib.suppress(Exception):  # whatever is wrong with it, the session goes on
                tap.end()

    def _transfer(self, kind: str, facts: dict[str, Any]) -> None:
        self.marker(kind, **facts)
        if kind.startswith("file-"):
            self._links.transferred(kind, facts)

    def _keys_out(self, shown: bytes, hidden: int) -> None:
        if hidden:
            self.marker("input-hidden", octets=hidden)
        if shown:
            self._text("i", shown)

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
            self._links.wake()
        if self.pending > HIGH and not self._held:
            self._held = True
            self._links.hold(True)
