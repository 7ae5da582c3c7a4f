"""The figures of one gateway process, in the shape that the console merges with those of its siblings."""

from collections.abc import Callable
from typing import Any

from core import clock
from core.ids import IdBlocks
from core.metrics import Counters
from mail.listeners import Listeners
from mail.workqueue import WorkQueues


class GatewayStatus:
    """Answers the control verb `status`."""

    def __init__(
        self, listeners: Listeners, work: WorkQueues, counters: Counters, mids: IdBlocks, icids: IdBlocks
    ) -> None:
        self._listeners = listeners
        self._work = work
        self._counters = counters
        self._ids: dict[str, Callable[[], int]] = {
            "message_id": lambda: mids.last,
            "injection_conn_id": lambda: icids.last,
        }

    async def reset(self, _: dict[str, Any]) -> dict[str, Any]:
        """Begin the counters' reset reading anew."""
        self._counters.reset()
        return {"reset_at": clock.now()}

    async def status(self, _: dict[str, Any]) -> dict[str, Any]:
        """Give state, counters, rates and gauges by the names of the status page."""
        gauges: dict[str, Any] = {
            "conn_in": self._listeners.connections,
            "msgs_in_work_queue": self._work.messages,
        }
        facts, order = self._counters.facts(), self._work.pause.order
        return {
            "state": self._listeners.state,
            "suspended_listeners": self._listeners.suspended,
            "work_queue": {"paused_by": order.who, "reason": order.reason, "paused_at": order.at} if order else None,
            **facts,
            "gauges": facts["gauges"] | gauges | {name: last() for name, last in self._ids.items()},
        }
