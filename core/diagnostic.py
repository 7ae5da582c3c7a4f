"""Diagnostics for whoever runs the daemon, on stderr, which the service manager keeps.

What happens to mail goes to `core/maillog.py` instead.
"""

import contextlib
import fcntl
import os
import stat
import struct
import termios
import time
import traceback
import uuid
from collections.abc import Callable

CRITICAL, ERROR, WARNING, INFO = 2, 3, 4, 6
_STDERR = 2
_JOURNAL_S, _LOOK_S = 2.0, 0.05


_WAYS: list[Callable[[bytes], object]] = []


def divert(way: Callable[[bytes], object] | None) -> None:
    """Have lines go another way than straight to stderr, None = straight: where nobody reads it, who writes waits."""
    _WAYS[:] = [way] if way is not None else []


def say(level: int, text: str) -> None:
    """Write one diagnostic to stderr, with its priority in the form of sd-daemon(3) under a service manager.

    Where stderr is a file on a disk that is full, or was closed, the line is lost and nothing else.
    """
    prefix = f"<{level}>" if "JOURNAL_STREAM" in os.environ else ""
    line = f"{prefix}{text}\n".encode("utf-8", "backslashreplace")
    for way in _WAYS:
        way(line)
        return
    with contextlib.suppress(OSError):
        os.write(_STDERR, line)


def until_read() -> None:
    """Wait until the journal has taken what was said, 2 s at most: called before a process ends with a fault.

    The journal finds the unit of a line by the process that wrote it. What one says that is gone by then stands in no
    unit's journal, and `systemctl status` does not show why it failed.
    """
    if "JOURNAL_STREAM" not in os.environ or not stat.S_ISSOCK(os.fstat(_STDERR).st_mode):
        return
    deadline = time.monotonic() + _JOURNAL_S
    while _unread() and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
    time.sleep(_LOOK_S)  # it looks at the process after it has read


def _unread() -> int:
    """Count the octets on stderr that its reader has not taken (unix(7), SIOCOUTQ)."""
    return int(struct.unpack("i", fcntl.ioctl(_STDERR, termios.TIOCOUTQ, bytes(4)))[0])


def incident(where: str, error: BaseException) -> str:
    """Log an unforeseen error with its traceback; give the id that may be shown to a peer instead of its text."""
    number = uuid.uuid4().hex[:12]
    say(ERROR, f"{where}: incident {number}: {''.join(traceback.format_exception(error))}")
    return number
