"""The end of a process that was told to end and does not: a thread of its own, which needs no loop that turns.

Used by `core/runtime.py`. What may hang when a daemon has done its work is out of the loop's hands: a thread on a disk
that does not answer, which Python waits for, or a handle that the loop cannot close. Whoever waits for the process
would wait for ever, or kill it without a word. Logs where every thread is.
"""

import faulthandler
import os
import threading
import time
from typing import Final

from core.diagnostic import CRITICAL, say
from core.errors import EX_SOFTWARE

_FOREVER: Final = threading.TIMEOUT_MAX


class LastResort:
    """Ends this process at its deadline, once it has one; it cannot be called off."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._deadline = _FOREVER
        self._sooner = threading.Condition()
        threading.Thread(target=self._wait, name="last resort", daemon=True).start()

    def within(self, seconds: float) -> None:
        """Have the process gone in so long, unless that was promised for sooner."""
        with self._sooner:
            self._deadline = min(self._deadline, time.monotonic() + seconds)
            self._sooner.notify()

    def _wait(self) -> None:
        with self._sooner:
            while (left_s := self._deadline - time.monotonic()) > 0:
                self._sooner.wait(min(left_s, _FOREVER))
        say(CRITICAL, f"{self._name}: did not come to its end in time and is ended; this is where its threads are:")
        faulthandler.dump_traceback()
        os._exit(EX_SOFTWARE)
