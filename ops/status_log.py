"""The status log: one line a minute with the figures of the whole machine, in the grammar of behaviour 3.7.

A service of the console, which can ask every daemon. Counters are those since the last reset. A figure that this
machine does not have is left out of the line; when no daemon answers, the line says so.
"""

from core.errors import GatepostError
from core.lifecycle import Scope
from core.maillog import Log
from ops.cli.appliance import Appliance
from ops.figures import amount
from ops.status import Document, collect

_FIELDS = (
    ("CPULd", "gauges", "cpu_utilization"),
    ("DskIO", "gauges", "disk_utilization"),
    ("RAMUtil", "gauges", "ram_utilization"),
    ("QKUsd", "gauges", "kbytes_used"),
    ("QKFre", "gauges", "kbytes_free"),
    ("CrtMID", "gauges", "message_id"),
    ("CrtICID", "gauges", "injection_conn_id"),
    ("CrtDCID", "gauges", "delivery_conn_id"),
    ("InjMsg", "counters", "inj_msgs"),
    ("InjRcp", "counters", "inj_recips"),
    ("GenBncRcp", "counters", "gen_bounce_recips"),
    ("RejRcp", "counters", "rejected_recips"),
    ("DrpMsg", "counters", "dropped_msgs"),
    ("SftBncEvnt", "counters", "soft_bounced_evts"),
    ("CmpRcp", "counters", "completed_recips"),
    ("HrdBncRcp", "counters", "hard_bounced_recips"),
    ("DnsHrdBnc", "counters", "dns_hard_bounced_recips"),
    ("5XXHrdBnc", "counters", "5xx_hard_bounced_recips"),
    ("FltrHrdBnc", "counters", "filter_hard_bounced_recips"),
    ("ExpHrdBnc", "counters", "expired_hard_bounced_recips"),
    ("OtrHrdBnc", "counters", "other_hard_bounced_recips"),
    ("DlvRcp", "counters", "delivered_recips"),
    ("DelRcp", "counters", "deleted_recips"),
    ("GlbUnsbHt", "counters", "global_unsub_hits"),
    ("ActvRcp", "gauges", "active_recips"),
    ("UnatmptRcp", "gauges", "unattempted_recips"),
    ("AtmptRcp", "gauges", "attempted_recips"),
    ("CrtCncIn", "gauges", "conn_in"),
    ("CrtCncOut", "gauges", "conn_out"),
    ("DnsReq", "counters", "dns_requests"),
    ("NetReq", "counters", "net_requests"),
    ("CchHit", "counters", "cache_hits"),
    ("CchMis", "counters", "cache_misses"),
    ("CchEct", "counters", "cache_exceptions"),
    ("CchExp", "counters", "cache_expired"),
    ("DstInMem", "gauges", "dests_in_memory"),
    ("ResCon", "gauges", "resource_conservation"),
    ("WorkQ", "gauges", "msgs_in_work_queue"),
    ("QuarMsgs", "gauges", "msgs_in_quarantine"),
    ("QuarQKUsd", "gauges", "kbytes_in_quarantine"),
    ("LogUsd", "gauges", "log_used"),
    ("TotalLd", "gauges", "total_utilization"),
    ("LogAvail", "gauges", "log_available"),
)


def status_line(document: Document) -> str:
    """Give the line for one document of `status`. Counters that nothing was counted in are 0."""
    parts = []
    for name, block, key in _FIELDS:
        if block == "counters":
            value = document["counters"].get(key, {}).get("reset", 0)
        elif key not in document["gauges"]:
            continue
        else:
            value = amount(key, document["gauges"][key])
        parts.append(f"{name} {value}")
    return f"Status: {' '.join(parts)}"


class StatusLog:
    """The service that writes them."""

    name = "status log"

    def __init__(self, appliance: Appliance, log: Log, interval_s: float) -> None:
        self._appliance = appliance
        self._log = log
        self._interval_s = interval_s

    async def run(self, scope: Scope) -> None:
        """Write a line at every interval until stopping."""
        scope.ready()
        while await scope.pause(self._interval_s):
            try:
                self._log.info(status_line(await collect(self._appliance)))
            except GatepostError as error:
                self._log.info(f"Status: {error.text}")
