"""One log file that several processes append to: its head, its roll-over, what is kept.

`NAME.current` is written, `NAME.@TIMESTAMP.s` is saved and never written again. Rules: whoever writes holds the shared
lock of the open file and has seen, under it, that the file still has the name; whoever rolls over holds the exclusive
one. So a saved file is complete, and every line is in one file, once. Nobody waits for a lock: a writer that meets
one keeps its lines, a roll-over comes at the next opportunity. A new file appears with its head in it, by a link.

Used by `core/maillog.py`, and by the console to roll over. Tells faults by what it gives, raises nothing of its own.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

from core.clock import now

_TRIES = 2
_PATIENCE_S = 2.0
"""How long `save` waits for writers that hold the file."""


class Written(NamedTuple):
    """How many octets are in the file, and why not all of them; without a fault the file is busy."""

    octets: int
    fault: OSError | None = None


def stamp(at: float) -> str:
    """Give the time as log lines begin with it."""
    return time.strftime("%a %b %e %H:%M:%S %Y", time.localtime(at))


def head_of(version: str, serial: str) -> str:
    """Give the texts of the head lines of a file that is begun now; the offset is that of this moment."""
    return f"Begin Logfile\nVersion: {version} SN: {serial}\n"


def saved_files(path: Path) -> list[Path]:
    """Give the files that were rolled over, oldest first."""
    return sorted(path.parent.glob(f"{path.stem}.@*.s"))


class LogFile:
    """One process's hold on a log file."""

    def __init__(self, path: Path, *, head: str = "", max_bytes: int = 100 << 20, keep: int = 10) -> None:
        """`head` are lines for the top of each file, without time; '' = files have neither head nor end."""
        self.path = path
        self.head = head
        self.max_bytes = max_bytes
        self.keep = keep
        self._file: int | None = None
        self._size = 0
        self._torn = False
        """The last write ended within a line."""

    def write(self, data: bytes) -> Written:
        """Append whole lines."""
        try:
            for _ in range(_TRIES):
                file = self._hold(fcntl.LOCK_SH)
                if file is not None:
                    return self._append(file, data)
        except FileNotFoundError:  # rolled over between two looks: busy
            return Written(0)
        except OSError as error:
            return Written(0, error)
        return Written(0)

    @property
    def full(self) -> bool:
        """Whether the file is due for a roll-over by its size, as of the last write."""
        return self._file is not None and self._size >= self.max_bytes

    def roll(self) -> Path | None:
        """Save the file under the name of this moment; None if it holds nothing or somebody holds it. Raises `OSError`.

        Whoever wrote before goes on in the new file by itself.
        """
        if not self.path.exists():
            return None
        file = self._hold(fcntl.LOCK_EX)
        if file is None:
            return None
        try:
            if self._size <= len(self._first_lines()):
                return None
            with contextlib.suppress(OSError):  # a full disk is no reason to go on with this file
                os.write(file, self._line("End Logfile") if self.head else b"")
            saved = self.path.with_name(f"{self.path.stem}.@{_moment()}.s")
            self.path.rename(saved)
            self._create()
            self._prune()
        finally:
            self.close()  # gives the lock back
        return saved

    def save(self) -> Path | None:
        """Roll over as `roll` does, waiting a little for writers; for threads that may wait. Raises `OSError`."""
        end = time.monotonic() + _PATIENCE_S
        while (saved := self.roll()) is None and self._size > len(self._first_lines()) and time.monotonic() < end:
            time.sleep(0.01)
        return saved

    def close(self) -> None:
        """Let go of the file; the next line opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _hold(self, kind: int) -> int | None:
        """Open and lock the file that has the name now; None if that cannot be at once."""
        file = self._file if self._file is not None else self._open()
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        ours = os.fstat(file)
        try:
            named = self.path.lstat()
        except FileNotFoundError:
            named = None
        if named is None or named.st_ino != ours.st_ino:
            self.close()
            return None
        self._size = ours.st_size
        return file

    def _append(self, file: int, data: bytes) -> Written:
        mend = b"\n" if self._torn else b""
        rest = memoryview(mend + data)
        fault = None
        try:
            while rest:
                rest = rest[os.write(file, rest) :]
        except OSError as error:
            fault = error
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
        octets = max(0, len(data) - len(rest))
        if octets or len(rest) < len(data) + len(mend):
            self._torn = bool(octets) and data[octets - 1 : octets] != b"\n"
        self._size += octets
        return Written(octets, fault)

    def _open(self) -> int:
        # What is no file of its own (a pipe that somebody put there, a link elsewhere) would hold the loop up, or
        # have us write where we should not.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            file = os.open(self.path, flags)
        except FileNotFoundError:
            self._create()
            file = os.open(self.path, flags)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "it is not a file", str(self.path))
        self._file = file
        self._torn = False
        return file

    def _create(self) -> None:
        """Begin a file; whoever else begins it at the same moment wins or loses as a whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            new.unlink(missing_ok=True)  # of a process that was killed, or put there by somebody
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            try:
                os.write(file, self._first_lines())
            finally:
                os.close(file)
            with contextlib.suppress(FileExistsError):
                os.link(new, self.path)
        finally:
            new.unlink(missing_ok=True)

    def _first_lines(self) -> bytes:
        if not self.head:
            return b""
        offset = time.localtime(now()).tm_gmtoff
        lines = [*self.head.splitlines(), f"Time offset from UTC: {offset} seconds"]
        return b"".join(self._line(line) for line in lines)

    def _line(self, text: str) -> bytes:
        return f"{stamp(now())} Info: {text}\n".encode()

    def _prune(self) -> None:
        for old in saved_files(self.path)[: -self.keep]:
            with contextlib.suppress(OSError):  # one that cannot be removed does not keep all that follow
                old.unlink(missing_ok=True)


def _moment() -> str:
    ns = time.time_ns()
    return time.strftime("%Y%m%dT%H%M%S", time.localtime(ns // 10**9)) + f"{ns % 10**9:09d}"
