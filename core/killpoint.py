"""Named points at which a test may kill this process, as a power cut or an operator would.

Modules that promise something about crashes call `killpoint("journal.synced")` between two steps. Outside tests
the call does nothing. With GATEPOST_KILL_AT="NAME" or "NAME:3" in the environment the process sends itself
SIGKILL when it passes that point for the first or third time.
"""

import os
import signal
from collections.abc import Callable


def _nothing(_name: str) -> None:
    """Pass."""


def _armed(wanted: str) -> Callable[[str], None]:
    name, _, count = wanted.partition(":")
    left = int(count or 1)

    def passed(at: str) -> None:
        nonlocal left
        if at == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return passed


_wanted = os.environ.get("GATEPOST_KILL_AT", "")
killpoint: Callable[[str], None] = _armed(_wanted) if _wanted else _nothing
