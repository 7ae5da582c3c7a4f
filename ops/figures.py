"""The figures of the status page: order, labels and the names of their counters and gauges.

The names are those that the model appliances use in their status document. Tables only; `status` draws them.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line: a label and the name of its figure; without a name it heads a group."""

    label: str
    name: str = ""
    detail: bool = False
    """True: only in the long form."""


COUNTER_ROWS = (
    Row("Receiving"),
    Row("Messages Received", "inj_msgs"),
    Row("Recipients Received", "inj_recips"),
    Row("Gen. Bounce Recipients", "gen_bounce_recips", detail=True),
    Row("Rejection"),
    Row("Rejected Recipients", "rejected_recips"),
    Row("Dropped Messages", "dropped_msgs"),
    Row("Queue"),
    Row("Soft Bounced Events", "soft_bounced_evts"),
    Row("Completion"),
    Row("Completed Recipients", "completed_recips"),
    Row("- Hard Bounced Recipients", "hard_bounced_recips", detail=True),
    Row("-- DNS Hard Bounces", "dns_hard_bounced_recips", detail=True),
    Row("-- 5XX Hard Bounces", "5xx_hard_bounced_recips", detail=True),
    Row("-- Filter Hard Bounces", "filter_hard_bounced_recips", detail=True),
    Row("-- Expired Hard Bounces", "expired_hard_bounced_recips", detail=True),
    Row("-- Other Hard Bounces", "other_hard_bounced_recips", detail=True),
    Row("- Delivered Recipients", "delivered_recips", detail=True),
    Row("- Deleted Recipients", "deleted_recips", detail=True),
    Row("Global Unsub. Hits", "global_unsub_hits", detail=True),
)

CURRENT_IDS = {
    "message_id": "Message ID (MID)",
    "injection_conn_id": "Injection Conn. ID (ICID)",
    "delivery_conn_id": "Delivery Conn. ID (DCID)",
}

RATE_ROWS = (
    Row("Receiving"),
    Row("Messages Received", "inj_msgs"),
    Row("Recipients Received", "inj_recips"),
    Row("Queue"),
    Row("Soft Bounced Events", "soft_bounced_evts"),
    Row("Completion"),
    Row("Completed Recipients", "completed_recips"),
    Row("- Hard Bounced Recipients", "hard_bounced_recips"),
    Row("- Delivered Recipients", "delivered_recips"),
)

GAUGE_ROWS = (
    Row("System", detail=True),
    Row("RAM Utilization", "ram_utilization", detail=True),
    Row("Overall CPU load average", "total_utilization", detail=True),
    Row("- MGA", "cpu_utilization", detail=True),
    Row("Disk I/O Utilization", "disk_utilization", detail=True),
    Row("Resource Conservation", "resource_conservation", detail=True),
    Row("Logging Disk Usage", "log_used", detail=True),
    Row("Logging Disk Available", "log_available", detail=True),
    Row("Connections"),
    Row("Current Inbound Conn.", "conn_in"),
    Row("Current Outbound Conn.", "conn_out"),
    Row("Queue"),
    Row("Active Recipients", "active_recips"),
    Row("- Unattempted Recipients", "unattempted_recips", detail=True),
    Row("- Attempted Recipients", "attempted_recips", detail=True),
    Row("Messages In Work Queue", "msgs_in_work_queue"),
    Row("Messages In Quarantine", "msgs_in_quarantine"),
    Row("Destinations In Memory", "dests_in_memory", detail=True),
    Row("Kilobytes Used", "kbytes_used"),
    Row("Kilobytes In Quarantine", "kbytes_in_quarantine"),
    Row("Kilobytes Free", "kbytes_free"),
)


LABELS = {row.name: row.label.lstrip("- ") for row in (*COUNTER_ROWS, *GAUGE_ROWS) if row.name} | CURRENT_IDS
"""What each figure of the status page is called there, by its name."""


def counter_rows(detail: bool) -> tuple[Row, ...]:
    """Give the counter rows of the short or the long form."""
    return tuple(row for row in COUNTER_ROWS if detail or not row.detail)


def amount(name: str, value: object) -> object:
    """Give a gauge as people read it: `log_available`, in octets, as `148G` or `1T`; others as they are."""
    if name != "log_available" or not isinstance(value, int | float):
        return value
    size = int(value)
    for unit in ("K", "M", "G"):
        size //= 1024
        if size < 1024:
            return f"{size}{unit}"
    return f"{size // 1024}T"
