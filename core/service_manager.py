"""What a daemon tells its service manager (sd_notify(3)): that it is ready, alive, stopping, how it is, and that it
needs more time.

Used by core/runtime.py and, for the time before a loop runs, by the executable. Without a manager nothing is said.
A start that takes long is prolonged from a thread of its own, for as long as the process really works: whoever waits
for something that never comes is not, and ends by the manager's time-out. Raises nothing, logs nothing.
"""

import os
import resource
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from core import clock

_EVERY_S: Final = 1.0
_MORE_S: Final = 30.0
_LEAST_WORK_S: Final = 0.02
"""Processor time in a second that tells work from the upkeep of a process that waits."""
_LEAST_BLOCKS: Final = 100
_LONGEST: Final = 300
_DIGITS: Final = 19
_MOST_OWED: Final = 8


class ServiceManager:
    """The way to it."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = _number(environ.get("WATCHDOG_USEC", "")) / 1e6 if mine else 0.0
        """How long it waits for a sign of life; 0 = for ever."""
        self._status = ""
        self._owed: list[str] = []
        self._lock = threading.Lock()
        self._started = threading.Event()

    def begin(self) -> None:
        """Say that the daemon starts, and prolong that time while it works at it."""
        self.status("starting")
        if self._address:
            threading.Thread(target=self._prolong, name="prolong the start", daemon=True).start()

    def ready(self) -> None:
        """Say that the daemon does its work now."""
        self._started.set()
        self.tell("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read; `ready` is to follow."""
        self.tell(f"RELOADING=1\nMONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}")

    def stopping(self, within_s: float) -> None:
        """Say that the daemon ends, and how long that may take."""
        self._started.set()
        self.tell(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(within_s * 1_000_000)}")

    def alive(self) -> None:
        """Give a sign of life, where one is waited for."""
        if self.watchdog_s:
            self.tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line how the daemon is (`systemctl status`)."""
        line = " ".join(text.split())[:_LONGEST]
        if line != self._status or self._owed:
            self._status = line
            self.tell(f"STATUS={line}")

    def tell(self, text: str) -> None:
        """Send a message; while the manager takes none it is kept, and goes with a later one: nobody waits for it."""
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with self._lock, suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            self._owed = [*(one for one in self._owed if one != text), text][-_MOST_OWED:]
            sock.setblocking(False)
            sock.connect(address)
            while self._owed:
                sock.send(self._owed[0].encode(errors="replace"))
                del self._owed[0]

    def _prolong(self) -> None:
        before = _work()
        while not self._started.wait(_EVERY_S):
            now = _work()
            if now[0] - before[0] >= _LEAST_WORK_S or now[1] - before[1] >= _LEAST_BLOCKS:
                self.tell(f"EXTEND_TIMEOUT_USEC={int(_MORE_S * 1_000_000)}")
            before = now


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) <= _DIGITS else 0


def _work() -> tuple[float, int]:
    """Give the processor time of this process, and how often it has read or written a disk."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_inblock + used.ru_oublock
