"""Diagnostics for whoever runs the daemon, on stderr, which the service manager keeps.

What happens to mail goes to `core/maillog.py` instead.
"""

import contextlib
import os
import traceback
import uuid

CRITICAL, ERROR, WARNING, INFO = 2, 3, 4, 6
_STDERR = 2


def say(level: int, text: str) -> None:
    """Write one diagnostic to stderr, with its priority in the form of sd-daemon(3) under a service manager.

    Where stderr is a file on a disk that is full, or was closed, the line is lost and nothing else.
    """
    prefix = f"<{level}>" if "JOURNAL_STREAM" in os.environ else ""
    with contextlib.suppress(OSError):
        os.write(_STDERR, f"{prefix}{text}\n".encode("utf-8", "backslashreplace"))


def incident(where: str, error: BaseException) -> str:
    """Log an unforeseen error with its traceback; give the id that may be shown to a peer instead of its text."""
    number = uuid.uuid4().hex[:12]
    say(ERROR, f"{where}: incident {number}: {''.join(traceback.format_exception(error))}")
    return number
