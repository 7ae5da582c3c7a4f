"""The bastion's figures for status and metrics: counters that others add to, gauges read here.

Answers the verb `status` as the other daemons do; names are those of the status page with `gatepost_` before them.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.lifecycle import Scope
from core.metrics import Counters
from core.ssh import SshListener
from tunnel.bastion.presence import Presence
from tunnel.bastion.visit import THROUGH, Visits
from tunnel.recording.recorder import Recorder

SERIES = ("c", "x", "m", "s")


class Figures:
    """Reads the gauges."""

    name = "figures"

    def __init__(
        self,
        counters: Counters,
        presence: Presence,
        visits: Visits,
        recorder: Recorder,
        listeners: Sequence[SshListener],
    ) -> None:
        self._counters = counters
        self._presence = presence
        self._visits = visits
        self._recorder = recorder
        self._listeners = listeners
        counters.show(self.gauges)

    async def run(self, scope: Scope) -> None:
        """Nothing runs by itself; the figures are read when they are asked for."""
        scope.ready()
        await scope.stopping.wait()

    def gauges(self) -> dict[str, float | str]:
        """Give the gauges as they are now."""
        tunnels = self._presence.all()
        series = Counter(tunnel.series if tunnel.series in SERIES else "other" for tunnel in tunnels)
        through = sum(visit.mode == THROUGH for visit in self._visits)
        values: dict[str, float | str] = {
            "tunnels": len(tunnels),
            "tunnels_online": sum(tunnel.online for tunnel in tunnels),
            "sessions_now": len(self._visits) - through,
            "sessions_through_now": through,
            "recorder_waiting_octets": self._recorder.waiting,
        }
        values |= {f"tunnels_{name}": series[name] for name in (*SERIES, "other")}
        for listener in self._listeners:
            values[f"{listener.name}_connections"] = listener.gate.total
            values[f"{listener.name}_not_logged_in"] = listener.gate.unknown
        return values

    async def status(self, _args: dict[str, Any]) -> dict[str, Any]:
        """Answer the verb `status`."""
        return {"state": "Online", **self._counters.facts()}
