"""Every metric by name: what it means, which daemon gives it, with which labels.

`ops/metrics.py` writes them, `python -m ops.metric docs/metrics.md` the page; a test holds what real daemons give
against this table. Names are those of the status page where there is one. A name that ends in `_total` only grows,
since the daemon's start. Labels have few values each: no domain, no address.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

PREFIX: Final = "gatepost_"
EVERY, MACHINE, GATEWAY, QUEUE = "every daemon", "the machine", "gateway", "delivery-queue"
LISTENER, HOLDER, TUNNEL, BASTION = "cpq-listener", "release-host", "tunnel-client", "bastion"
JOURNAL = "every owner of a journal"
MAIL = "gateway, delivery-queue"


class Metric(NamedTuple):
    """One row; `owner` is the daemon that counts it, or a word for several."""

    name: str
    owner: str
    text: str
    labels: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it only grows."""
        return self.name.endswith("_total")


METRICS: Final[Sequence[Metric]] = (
    Metric("build_info", MACHINE, "Always 1; the labels say which release runs in which role", ("version", "role")),
    Metric("ready", MACHINE, "1 while the machine does its work, 0 while it should be left alone (/readyz)"),
    Metric("check_state", MACHINE, "What each check found: 0 ok, 1 degraded, 2 failed", ("check",)),
    Metric("up", EVERY, "1 if the daemon answers on its control socket, 0 if not"),
    Metric("daemon_ready", EVERY, "1 once the daemon has begun its work"),
    Metric("started_at_seconds", EVERY, "When the process began, UNIX time; each change is a restart"),
    Metric("loop_lag_seconds", EVERY, "How late the event loop was at the last look"),
    Metric("cpu_seconds_total", EVERY, "Processor time of the process"),
    Metric("memory_bytes", EVERY, "Resident memory of the process"),
    Metric("open_files", EVERY, "Open descriptors of the process"),
    Metric("open_files_limit", EVERY, "How many descriptors it may have"),
    Metric("log_lines_lost_total", EVERY, "Lines that could not be written to a log file"),
    Metric("spool_free_bytes", MACHINE, "Free space of the spool's file system"),
    Metric("spool_size_bytes", MACHINE, "Size of the spool's file system"),
    Metric("spool_reserve_bytes", MACHINE, "Free space below which no mail is taken"),
    Metric("certificate_expires_at_seconds", MACHINE, "When a certificate ends, UNIX time", ("certificate",)),
    Metric("inj_msgs_total", GATEWAY, "Messages received"),
    Metric("inj_recips_total", GATEWAY, "Recipients received"),
    Metric("rejected_recips_total", GATEWAY, "Recipients refused in the conversation"),
    Metric("dropped_msgs_total", GATEWAY, "Messages dropped by a filter, a table or a sinkhole"),
    Metric("smtp_refused_total", GATEWAY, "What the conversation refused, by class of reason", ("reason",)),
    Metric("listener_connections", GATEWAY, "Open connections of a listener", ("listener",)),
    Metric("listener_turned_away_total", GATEWAY, "Connections refused before the greeting: too many", ("listener",)),
    Metric("conn_in", GATEWAY, "Open inbound connections"),
    Metric("msgs_in_work_queue", GATEWAY, "Messages accepted and not yet through the pipeline"),
    Metric("resource_conservation", GATEWAY, "Seconds by which receiving is slowed; 999 = no mail is taken"),
    Metric("pressure_ratio", GATEWAY, "How near each cause is to where no mail is taken; 1 = there", ("cause",)),
    Metric("ram_utilization", GATEWAY, "Memory of the mail daemons, percent of what they may use"),
    Metric(
        "disk_utilization_spool", GATEWAY, "Used part of the spool's file system as conservation counts it, percent"
    ),
    Metric("message_id", GATEWAY, "Latest MID"),
    Metric("injection_conn_id", GATEWAY, "Latest ICID"),
    Metric("journal_commits_total", JOURNAL, "Batches written and synced to the journal", ("journal",)),
    Metric("journal_commit_seconds_total", JOURNAL, "Time that those took", ("journal",)),
    Metric("journal_latency_seconds", JOURNAL, "The batch in flight so far, else a recent one", ("journal",)),
    Metric("journal_backlog_bytes", JOURNAL, "Written and not yet acknowledged by the queue", ("journal",)),
    Metric("journal_backlog_limit_bytes", JOURNAL, "Backlog beyond which messages are refused", ("journal",)),
    Metric("journal_segments", JOURNAL, "Segments on the disk", ("journal",)),
    Metric("journal_refusing", JOURNAL, "1 while no message is taken", ("journal",)),
    Metric("active_recips", QUEUE, "Recipients in the delivery queue"),
    Metric("unattempted_recips", QUEUE, "Of those, not tried yet"),
    Metric("attempted_recips", QUEUE, "Of those, tried and waiting"),
    Metric("oldest_message_seconds", QUEUE, "Age of the oldest message in the queue, 0 without one"),
    Metric("dests_in_memory", QUEUE, "Destinations with mail or recent activity"),
    Metric("dests_down", QUEUE, "Destinations that do not answer"),
    Metric("cpq_recips", QUEUE, "Recipients that wait to be handed to the other appliance (port 7025)"),
    Metric("held_recips", QUEUE, "Recipients in the.hold.queue, which wait for a person"),
    Metric("conn_out", QUEUE, "Open outbound connections"),
    Metric("delivery_conn_id", QUEUE, "Latest DCID"),
    Metric("delivered_recips_total", QUEUE, "Recipients delivered"),
    Metric("completed_recips_total", QUEUE, "Recipients done with, in whatever way"),
    Metric("soft_bounced_evts_total", QUEUE, "Attempts that failed and are repeated, by recipient"),
    Metric("hard_bounced_recips_total", QUEUE, "Recipients given up"),
    Metric("dns_hard_bounced_recips_total", QUEUE, "Of those, for domains that do not exist"),
    Metric("5xx_hard_bounced_recips_total", QUEUE, "Of those, refused by the other host"),
    Metric("filter_hard_bounced_recips_total", QUEUE, "Of those, by a filter"),
    Metric("expired_hard_bounced_recips_total", QUEUE, "Of those, too old"),
    Metric("other_hard_bounced_recips_total", QUEUE, "Of those, for other reasons"),
    Metric("deleted_recips_total", QUEUE, "Recipients deleted by an operator"),
    Metric("global_unsub_hits_total", QUEUE, "Recipients on the unsubscribe list"),
    Metric("gen_bounce_recips_total", QUEUE, "Recipients of reports made here"),
    Metric("capped_reports_total", QUEUE, "Reports not made because of [bounces] limits"),
    Metric("stuck_connections_total", QUEUE, "Outbound connections ended by the watchdog"),
    Metric("tls_failures_total", QUEUE, "Outbound connections without the TLS that policy wants"),
    Metric("kbytes_used", QUEUE, "Room that journals and queue take, KiB"),
    Metric("kbytes_free", QUEUE, "Free space of the spool, KiB"),
    Metric("total_utilization", QUEUE, "Processors of the machine, percent"),
    Metric("disk_utilization", QUEUE, "Part of the time that the spool's disk was busy, percent"),
    Metric("log_used", QUEUE, "Used part of the logs' file system, percent"),
    Metric("log_available", QUEUE, "Free space of the logs' file system, octets"),
    Metric("cpu_utilization", MAIL, "Processor time of the daemon, percent of the machine"),
    Metric("dns_requests_total", MAIL, "Names asked for"),
    Metric("net_requests_total", MAIL, "Questions sent to name servers"),
    Metric("cache_hits_total", MAIL, "Names answered from the cache"),
    Metric("cache_misses_total", MAIL, "Names not in the cache"),
    Metric("cache_expired_total", MAIL, "Of those, in the cache and too old"),
    Metric("cache_exceptions_total", MAIL, "Questions without an answer"),
    Metric("cpq_connections", LISTENER, "Open connections of cpq_listener"),
    Metric("cpq_peers", LISTENER, "Paired appliances"),
    Metric("msgs_in_quarantine", HOLDER, "Messages in quarantine"),
    Metric("kbytes_in_quarantine", HOLDER, "Their size, KiB"),
    Metric("quarantine_messages", HOLDER, "Messages by quarantine; one may be in several", ("quarantine",)),
    Metric("quarantine_quota_bytes", HOLDER, "Room for all quarantines ([cpq] quota_mib), 0 = no limit"),
    Metric("quarantine_expired_total", HOLDER, "Messages that left a quarantine because their time was over"),
    Metric("quarantine_overflowed_total", HOLDER, "Messages that left a quarantine early, to make room"),
    Metric("quarantine_full", HOLDER, "1 while it is over its quota and nothing may leave early"),
    Metric("tunnel_enabled", TUNNEL, "1 while an operator allows remote access through the tunnel"),
    Metric("tunnel_connected", TUNNEL, "1 while the tunnel to the bastion is up"),
    Metric("tunnel_until_seconds", TUNNEL, "When that access ends, UNIX time, 0 = it is not enabled"),
    Metric("tunnel_sessions", TUNNEL, "Support sessions that are open"),
    Metric("tunnels", BASTION, "Appliances that are connected"),
    Metric("tunnels_online", BASTION, "Of those, who answered lately"),
    *(
        Metric(f"tunnels_{series}", BASTION, f"Connected appliances of the series {series}")
        for series in ("c", "x", "m", "s", "other")
    ),
    Metric("tunnels_opened_total", BASTION, "Tunnels that were opened"),
    Metric("takeovers_total", BASTION, "Tunnels replaced by a newer one of the same appliance"),
    Metric("keepalive_deaths_total", BASTION, "Connections ended because the other side was silent"),
    Metric("appliance_logins_total", BASTION, "Log-ins of appliances"),
    Metric("engineer_logins_total", BASTION, "Log-ins of engineers"),
    Metric("engineer_connections_unused_total", BASTION, "Connections of engineers that asked for nothing"),
    Metric("handshakes_total", BASTION, "SSH handshakes"),
    Metric("handshake_milliseconds_total", BASTION, "Time that those took"),
    Metric("sessions_now", BASTION, "Recorded sessions that are open"),
    Metric("sessions_through_now", BASTION, "Sessions straight through (ssh -J) that are open"),
    Metric("sessions_recorded_total", BASTION, "Sessions that were recorded"),
    Metric("sessions_through_total", BASTION, "Sessions straight through"),
    Metric("sessions_not_reached_total", BASTION, "Sessions whose appliance could not be reached"),
    Metric("sessions_revoked_total", BASTION, "Sessions ended because a right was taken back"),
    Metric("sessions_terminated_total", BASTION, "Sessions ended by an operator"),
    Metric("recorder_waiting_octets", BASTION, "Recorded and not yet written"),
    *(
        Metric(f"{side}_{what}", BASTION, f"{words} of {side}")
        for side in ("appliances", "engineers")
        for what, words in (("connections", "Connections"), ("not_logged_in", "Connections before the log-in"))
    ),
    Metric("door_refused_RULE_total", BASTION, "Connections refused before the log-in, by rule"),
    Metric("refused_RULE_total", BASTION, "What was refused after it, by rule"),
)
_BY_NAME: Final[Mapping[str, Metric]] = {one.name: one for one in METRICS}
_BY_RULE: Final = ("door_refused_", "refused_")
SHOWN_AT_ZERO: Final = frozenset({GATEWAY, QUEUE, BASTION})
"""Daemons whose counters are there from the start: what appears with its first event has no rate for it."""


def metric_of(name: str) -> Metric | None:
    """Give the row of a name without the prefix, None for one that is not known."""
    found = _BY_NAME.get(name)
    prefix = next((one for one in _BY_RULE if name.startswith(one)), None)
    return found or (_BY_NAME[f"{prefix}RULE_total"] if prefix else None)


def counters_of(daemon: str) -> list[str]:
    """Name the counters that a daemon shows from its start."""
    kind = daemon.rsplit("-", 1)[0] if daemon.startswith("gateway-") else daemon
    if kind not in SHOWN_AT_ZERO:
        return []
    return [
        one.name for one in METRICS if one.counts and one.owner == kind and not one.labels and "RULE" not in one.name
    ]


def page() -> str:
    """Write docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Every metric of `/metrics` and of the command `metrics` (made from `ops/metric.py` by"
        " `python -m ops.metric docs/metrics.md`). All that a daemon gives carry the label `daemon`; what ends in"
        " `_total` counts since the daemon's start. [Monitoring](monitoring.md) says how to collect them.",
    ]
    for owner in dict.fromkeys(one.owner for one in METRICS):
        lines += ["", f"## From {owner}", "", "| name | labels | what |", "|---|---|---|"]
        for one in METRICS:
            if one.owner == owner:
                labels = ", ".join((*(() if owner == MACHINE else ("daemon",)), *one.labels)) or "–"
                lines.append(f"| `{PREFIX}{one.name}` | {labels} | {one.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
