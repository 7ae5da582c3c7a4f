"""The views of a running daemon, asked again and again from a thread while something else goes on.

Used by `bench/depth.py`: what an operator waits for at the start, at the import, and during a deletion.
"""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

from core.control import call
from core.errors import GatepostError


def ask(control: Path, verb: str, **args: Any) -> tuple[float, Any]:
    """Call a verb; gives milliseconds and the answer."""
    begun = time.monotonic()
    answer = asyncio.run(call(control, verb, timeout_s=60, **args))
    return 1000 * (time.monotonic() - begun), answer


class Probe:
    """Asks the views every `pause_s` from the first moment at which the daemon answers."""

    def __init__(self, control: Path, host: str, pause_s: float = 0.1) -> None:
        """`host` is whose `hoststatus` is asked for."""
        self._control = control
        self._asked: dict[str, dict[str, Any]] = {"tophosts": {"limit": 20}, "hoststatus": {"host": host}}
        self._pause_s = pause_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._took: dict[str, list[float]] = {}
        self._worst_at: dict[str, float] = {}
        self._lock = threading.Lock()
        self.rule = ""
        """What `hoststatus` said last."""

    def begin(self) -> None:
        """Start asking."""
        self._thread.start()

    def end(self) -> None:
        """Stop asking."""
        self._ended.set()
        self._thread.join(70)

    def take(self, when: str, figures: dict[str, float]) -> None:
        """Put the worst and the middle of each view since the last call among the figures."""
        with self._lock:
            took, self._took = self._took, {}
        for name, times in took.items():
            times.sort()
            figures[f"{name} {when}, worst of {len(times)}, ms"] = times[-1]
            figures[f"{name} {when}, median, ms"] = times[len(times) // 2]

    def _run(self) -> None:
        while not self._ended.wait(self._pause_s):
            for name, args in self._asked.items():
                try:
                    took, answer = ask(self._control, name, **args)
                except (GatepostError, OSError):
                    continue  # not there yet, or no such host yet
                with self._lock:
                    self._took.setdefault(name, []).append(took)
                if name == "hoststatus":
                    self.rule = str(answer["limiting_rule"])
