"""Where lines of one subscription go: gathered, filtered by level, written in batches; losses counted and told.

Belongs to `core/maillog.py`. A log that cannot be written never stops the mail: what does not fit is lost, which
stands on standard error at once and in the log itself as soon as that can be written again.
"""

import time

from core import diagnostic
from core.clock import now
from core.log.file import LogFile, stamp

_MOST_KEPT = 8 << 20
"""Octets kept while another process holds the file."""
_PATIENCE_S = 0.5
"""How long the last lines wait for a process that holds the file; a roll-over takes milliseconds."""


class Sink:
    """One file with a level."""

    __slots__ = ("_kept", "_silent", "file", "level", "lines", "lost")

    def __init__(self, file: LogFile, level: int) -> None:
        self.file = file
        self.level = level
        self.lines: list[str] = []
        """Whole lines that wait for the next batch."""
        self.lost = 0
        """Lines lost since the start."""
        self._silent = 0
        """Lines lost that the log itself does not tell of yet."""
        self._kept = b""

    def flush(self) -> None:
        """Write what waits."""
        if not self.lines and not self._kept:
            return
        data = self._kept + "".join(self.lines).encode("utf-8", "replace")
        self.lines.clear()
        told = self._told()
        written = self.file.write(told + data)
        if written.fault is not None:
            self._lose(data[max(0, written.octets - len(told)) :], str(written.fault.strerror))
        elif written.octets:
            self._kept = b""
            if told:
                text = f"{self.file.path}: can be written again; {self._silent} log lines were lost"
                diagnostic.say(diagnostic.WARNING, text)
                self._silent = 0
        elif len(data) > _MOST_KEPT:
            self._lose(data, "another process holds it")
        else:
            self._kept = data

    def _told(self) -> bytes:
        if not self._silent:
            return b""
        return f"{stamp(now())} Warning: {self._silent} lines of this log were lost\n".encode()

    def _lose(self, data: bytes, why: str) -> None:
        if not self._silent:
            text = f"{self.file.path}: cannot be written: {why}; log lines are lost until it can"
            diagnostic.say(diagnostic.ERROR, text)
        count = data.count(b"\n")
        self.lost += count
        self._silent += count
        self._kept = b""

    def close(self) -> None:
        """Write what waits and let go of the file; a roll-over that is under way is waited for, a little."""
        self.flush()
        end = time.monotonic() + _PATIENCE_S
        while self._kept and time.monotonic() < end:
            time.sleep(0.005)
            self.flush()
        if self._kept:
            self._lose(self._kept, "another process holds it")
        self.file.close()
