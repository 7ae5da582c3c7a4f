"""The text mail log: one line an event, in the grammar operators know, buffered because a message makes a dozen.

`Sun Nov 22 02:21:02 2026 Info: MID 5 queued for delivery`. Each process has its own writer and appends whole
lines to the shared file `mail.current` (O_APPEND), which rolls over by size. Whoever logs text that came from a
peer passes it through `clean` first. Never a password, never message text.
"""

import contextlib
import fcntl
import os
import time
import unicodedata
from pathlib import Path
from typing import Protocol

from core import diagnostic
from core.lifecycle import Scope

_FLUSH_BYTES = 64 * 1024
_FLUSH_S = 0.2
CRITICAL, WARNING, INFO, DEBUG, TRACE = 1, 2, 3, 4, 5


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


class MailLog:
    """The writer of one process; `run` is its service. Lines below `level` cost one comparison."""

    name = "mail log"

    def __init__(self, path: Path, *, level: int = INFO, max_bytes: int = 100 << 20, keep: int = 10) -> None:
        self._path = path
        self._level = level
        self._max_bytes = max_bytes
        self._keep = keep
        self._lines: list[str] = []
        self._size = 0
        self._second = 0
        self._stamp = ""
        self._file: int | None = None
        self._lost = 0

    def info(self, text: str) -> None:
        """Log what happens in the ordinary run of things."""
        if self._level >= INFO:
            self._put("Info", text)

    def debug(self, text: str) -> None:
        """Log what only a search for a fault needs."""
        if self._level >= DEBUG:
            self._put("Debug", text)

    def warning(self, text: str) -> None:
        """Log what an operator should look at; written at once."""
        if self._level >= WARNING:
            self._put("Warning", text)
            self.flush()

    def critical(self, text: str) -> None:
        """Log what an operator must look at; written at once."""
        self._put("Critical", text)
        self.flush()

    def _put(self, level: str, text: str) -> None:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(second))
        line = f"{self._stamp} {level}: {text}\n"
        self._lines.append(line)
        self._size += len(line)
        if self._size >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered; a log that cannot be written never stops the mail."""
        if not self._lines:
            return
        count, data = len(self._lines), "".join(self._lines).encode("utf-8", "replace")
        self._lines.clear()
        self._size = 0
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
                self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            os.write(self._file, data)
        except OSError as error:
            if not self._lost:
                text = f"{self._path}: cannot be written: {error.strerror}; log lines are lost until it can"
                diagnostic.say(diagnostic.ERROR, text)
            self._lost += count
            return
        if self._lost:
            text = f"{self._path}: can be written again; {self._lost} log lines were lost"
            diagnostic.say(diagnostic.WARNING, text)
            self._lost = 0
        with contextlib.suppress(OSError):
            self._roll()

    def _roll(self) -> None:
        """Start a new file when this one is full, or follow another process that did."""
        assert self._file is not None
        ours = os.fstat(self._file)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = None
        if named is None or named.st_ino != ours.st_ino:
            self._close()
        elif ours.st_size >= self._max_bytes:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
                if self._path.stat().st_ino == ours.st_ino:
                    stamp = time.strftime("%Y%m%dT%H%M%S") + f"{time.time_ns() % 10**9:09d}"
                    self._path.rename(self._path.with_name(f"{self._path.stem}.@{stamp}.s"))
                    self._prune()
            finally:
                self._close()  # gives the lock back, also when another process was faster and the name is gone

    def _prune(self) -> None:
        saved = sorted(self._path.parent.glob(f"{self._path.stem}.@*.s"))
        for old in saved[: -self._keep]:
            old.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    async def run(self, scope: Scope) -> None:
        """Flush a few times a second until stopping; what comes later is flushed by `close`."""
        scope.ready()
        while await scope.pause(_FLUSH_S):
            self.flush()
        self.close()

    def close(self) -> None:
        """Write what is left and let go of the file; a later line opens it again."""
        self.flush()
        self._close()
