"""A log as a process writes it: one line an event, in the grammar operators know, buffered: a message makes a dozen.

`Sun Nov 22 02:21:02 2026 Info: MID 5 queued for delivery`. The mail log and all others (`core/log/book.py`): each
process has its own writer of each and appends whole lines to the shared file of each subscription
(`core/log/file.py`), which rolls over by size. Whoever logs text that came from a peer passes it through `clean` first.
Never a password, never message text.
"""

import contextlib
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from core.condition import Condition, Figure
from core.lifecycle import Scope
from core.log.detail import Details
from core.log.file import LogFile
from core.log.sink import Sink

_FLUSH_BYTES = 64 * 1024
_FLUSH_S = 0.2
CRITICAL, WARNING, INFO, DEBUG = 1, 2, 3, 4


def clean(text: str, limit: int | None = 998, *, lines: bool = False) -> str:
    """Make text of a peer safe for a log or terminal: controls, line ends and what is unseen are shown escaped.

    Of text longer than `limit` the beginning is shown. With `lines`, line ends stay and tabs become blanks.
    """
    if limit is not None and len(text) > limit:
        text = text[:limit] + "…"
    if text.isprintable():
        return text
    if lines:
        text = text.replace("\r\n", "\n").replace("\t", "        ")
    return "".join(char if _is_seen(char) or (lines and char == "\n") else _escape(char) for char in text)


def _is_seen(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"  # the wide blank of Japanese text, for one


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class Log(Protocol):
    """What writes lines of a log: for all who are handed one and need no more of it."""

    def info(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def critical(self, text: str) -> None: ...


def _tell_nobody(_text: str) -> None:
    """Tell nobody."""


class MailLog:
    """The writer of one log in one process; `run` is its service. Lines below the level cost one comparison."""

    def __init__(self, path: Path, *, level: int = INFO, max_bytes: int = 100 << 20, keep: int = 10) -> None:
        self.name = "mail log"
        self.details = Details()
        """What is told of each message."""
        self.companions: list[MailLog] = []
        """Logs that are flushed with this one."""
        self.alarm: Callable[[str], None] = _tell_nobody
        """Told of each critical line, beside the log."""
        self._size = 0
        self._second = 0
        self._stamp = ""
        self._sinks: tuple[Sink, ...] = ()
        self._level = 0
        self.follow([Sink(LogFile(path, max_bytes=max_bytes, keep=keep), level)])

    @classmethod
    def over(cls, sinks: Sequence[Sink], name: str = "mail log") -> "MailLog":
        """Make a writer of several files, each with its own level, or of none."""
        made = cls(Path())
        made.name = name
        made.follow(sinks)
        return made

    def follow(self, sinks: Sequence[Sink]) -> None:
        """Write to these from now on; what was logged before is where it was to go."""
        self.close()
        self._sinks = tuple(sinks)
        self._level = max((sink.level for sink in sinks), default=0)

    @property
    def silent(self) -> bool:
        """Whether nothing is written, so that costly lines need not be made."""
        return not self._level

    @property
    def lost(self) -> int:
        """Lines that could not be written since the start."""
        return sum(sink.lost for sink in self._sinks)

    def info(self, text: str) -> None:
        """Log what happens in the ordinary run of things."""
        if self._level >= INFO:
            self._put(INFO, "Info", text)

    def debug(self, text: str) -> None:
        """Log what only a search for a fault needs."""
        if self._level >= DEBUG:
            self._put(DEBUG, "Debug", text)

    def warning(self, text: str) -> None:
        """Log what an operator should look at; written at once."""
        if self._level >= WARNING:
            self._put(WARNING, "Warning", text)
            self.flush()

    def critical(self, text: str) -> None:
        """Log what an operator must look at; written at once."""
        if self._level:
            self._put(CRITICAL, "Critical", text)
            self.flush()
        self.alarm(text)

    def _put(self, number: int, level: str, text: str) -> None:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(second))
        line = f"{self._stamp} {level}: {text}\n"
        for sink in self._sinks:
            if sink.level >= number:
                sink.lines.append(line)
        self._size += len(line)
        if self._size >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered; a log that cannot be written never stops the mail."""
        self._size = 0
        for sink in self._sinks:
            sink.flush()
            if sink.file.full:
                with contextlib.suppress(OSError):
                    sink.file.roll()
        for log in self.companions:
            log.flush()

    def condition(self) -> Condition:
        """Say how many lines were lost."""
        lost = self.lost + sum(log.lost for log in self.companions)
        return Condition(figures=(Figure("log_lines_lost_total", lost),))

    async def run(self, scope: Scope) -> None:
        """Flush a few times a second until stopping; what comes later is flushed by `close`."""
        scope.ready()
        while await scope.pause(_FLUSH_S):
            self.flush()
        self.close()

    def close(self) -> None:
        """Write what is left and let go of the files; a later line opens them again."""
        for sink in self._sinks:
            sink.close()
        for log in self.companions:
            log.close()
