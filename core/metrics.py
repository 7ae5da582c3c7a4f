"""Counters and gauges of a daemon, by the names of the status page (`inj_msgs`, `delivered_recips` …).

A counter has three readings: since the last `resetcounters`, since this daemon started, and for the life of the
system. The lifetime and reset readings are kept in a small state file, written every few seconds and at the end;
a crash loses at most that much counting, never mail.
"""

import contextlib
import os
from collections import deque
from pathlib import Path

import msgspec

from core import clock
from core.lifecycle import Scope

_SAVE_S = 10.0
_WINDOWS = {"1m": 60, "5m": 300, "15m": 900}


class _Kept(msgspec.Struct):
    lifetime: dict[str, int] = {}
    reset_base: dict[str, int] = {}
    reset_at: float = 0.0


class Counters:
    """The counters of one process; adding to one costs a dictionary look-up."""

    name = "counters"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uptime: dict[str, int] = {}
        self._history: deque[tuple[float, dict[str, int]]] = deque(maxlen=_WINDOWS["15m"] // 15 + 1)
        try:
            self._kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError):
            self._kept = _Kept()

    def add(self, name: str, n: int = 1) -> None:
        """Count `n` more events."""
        self._uptime[name] = self._uptime.get(name, 0) + n

    def reset(self) -> None:
        """Start the `reset` reading again from zero."""
        self._kept.reset_base = self._totals()
        self._kept.reset_at = clock.now()
        self.save()

    def _totals(self) -> dict[str, int]:
        totals = dict(self._kept.lifetime)
        for name, n in self._uptime.items():
            totals[name] = totals.get(name, 0) + n
        return totals

    def snapshot(self) -> dict[str, dict[str, int]]:
        """Give {name: {reset, uptime, lifetime}}."""
        return {
            name: {
                "reset": total - self._kept.reset_base.get(name, 0),
                "uptime": self._uptime.get(name, 0),
                "lifetime": total,
            }
            for name, total in sorted(self._totals().items())
        }

    def rates(self) -> dict[str, dict[str, int]]:
        """Give {name: {1m, 5m, 15m}}: events in each window, scaled to an hour."""
        now = clock.monotonic()
        result: dict[str, dict[str, int]] = {name: {} for name in self._uptime}
        for label, seconds in _WINDOWS.items():
            base = next((counts for at, counts in self._history if now - at <= seconds), {})
            for name, n in self._uptime.items():
                result[name][label] = round((n - base.get(name, 0)) * 3600 / seconds)
        return result

    def save(self) -> None:
        """Write the lifetime readings; losing them is no harm to mail, so errors are passed over."""
        kept = msgspec.structs.replace(self._kept, lifetime=self._totals())
        temporary = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            temporary.write_bytes(msgspec.json.encode(kept))
            temporary.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()

    async def run(self, scope: Scope) -> None:
        """Save now and then, and keep the readings that rates are computed from."""
        scope.ready()
        self._history.append((clock.monotonic(), dict(self._uptime)))
        saved = clock.monotonic()
        while await scope.pause(15.0 if clock.monotonic() - saved > _SAVE_S else 5.0):
            if clock.monotonic() - self._history[-1][0] >= 15.0:
                self._history.append((clock.monotonic(), dict(self._uptime)))
            self.save()
            saved = clock.monotonic()
        self.save()
