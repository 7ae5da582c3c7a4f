"""Diagnostics for whoever runs the daemon, on stderr, which the service manager keeps.

What happens to mail goes to `core/maillog.py` instead.
"""

import os
import sys
import traceback
import uuid

CRITICAL, ERROR, WARNING, INFO = 2, 3, 4, 6


def say(level: int, text: str) -> None:
    """Write one diagnostic to stderr, with its priority in the form of sd-daemon(3) under a service manager."""
    prefix = f"<{level}>" if "JOURNAL_STREAM" in os.environ else ""
    print(f"{prefix}{text}", file=sys.stderr, flush=True)  # noqa: T201


def incident(where: str, error: BaseException) -> str:
    """Log an unforeseen error with its traceback; give the id that may be shown to a peer instead of its text."""
    number = uuid.uuid4().hex[:12]
    say(ERROR, f"{where}: incident {number}: {''.join(traceback.format_exception(error))}")
    return number
