"""Counters and gauges of a daemon, by the names of the status page (`inj_msgs`, `delivered_recips` …).

A counter has three readings: since the last `resetcounters`, since this daemon started, and for the life of the
system. The lifetime and reset readings are kept in a small state file, written every few seconds and at the end;
a crash loses at most that much counting, never mail.
"""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from core import clock
from core.lifecycle import Scope

_LOOK_S = 5.0
_WINDOWS = {"1m": 60, "5m": 300, "15m": 900}


Gauges = Callable[[], Mapping[str, float | str]]


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
        self._sources: list[Callable[[], Mapping[str, int]]] = []
        self._gauges: list[Gauges] = []
        self._samples: list[Callable[[], None]] = []
        self.since_at = clock.now()
        self._history: deque[tuple[float, dict[str, int]]] = deque(maxlen=int(_WINDOWS["15m"] // _LOOK_S) + 1)
        try:
            self._kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            self._kept = _Kept()

    def add(self, name: str, n: int = 1) -> None:
        """Count `n` more events."""
        self._uptime[name] = self._uptime.get(name, 0) + n

    def also(self, read: Callable[[], Mapping[str, int]]) -> None:
        """Take up counts that somebody else keeps: `read` gives them since this daemon started."""
        self._sources.append(read)

    def show(self, read: Gauges, sample: Callable[[], None] = lambda: None) -> None:
        """Take up gauges: `read` gives their values now; `sample` is called every few seconds."""
        self._gauges.append(read)
        self._samples.append(sample)

    def _refresh(self) -> None:
        for read in self._sources:
            self._uptime.update(read())

    def reset(self) -> None:
        """Start the `reset` reading again from zero."""
        self._kept.reset_base = self._totals()
        self._kept.reset_at = clock.now()
        self.save()

    def _totals(self) -> dict[str, int]:
        self._refresh()
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
        self._refresh()
        now = clock.monotonic()
        result: dict[str, dict[str, int]] = {name: {} for name in self._uptime}
        for label, seconds in _WINDOWS.items():
            base = next((counts for at, counts in self._history if now - at <= seconds), {})
            for name, n in self._uptime.items():
                result[name][label] = round((n - base.get(name, 0)) * 3600 / seconds)
        return result

    def facts(self) -> dict[str, Any]:
        """Give what every daemon's `status` says: since when, counters, rates, gauges."""
        return {
            "up_since_at": self.since_at,
            "counters_reset_at": self._kept.reset_at or None,
            "counters": self.snapshot(),
            "rates": self.rates(),
            "gauges": {name: value for read in self._gauges for name, value in read().items()},
        }

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
        self._look()
        while await scope.pause(_LOOK_S):
            self._look()
            self.save()
        self.save()

    def _look(self) -> None:
        for sample in self._samples:
            sample()
        self._refresh()
        self._history.append((clock.monotonic(), dict(self._uptime)))
