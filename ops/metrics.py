"""The figures of a machine as Prometheus text: the command `metrics` and `/metrics`.

One sample for each daemon; names, texts and labels stand in `ops/metric.py`. What a daemon answers to `status` and to
`health` is taken as it is: a name that is not in the table is shown all the same, its words as its text.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.credential import describe
from core.disk import Disk, share
from ops.cli.appliance import Answer, Appliance
from ops.health import CHECKS, FAILED, OK, READY, STATES, Check, Place, Pulse, Report
from ops.metric import PREFIX, counters_of, metric_of
from ops.status import answers_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REFUSED = "smtp_refused_"
_PROCESS = {
    "cpu_s": "cpu_seconds_total",
    "memory_bytes": "memory_bytes",
    "open_files": "open_files",
    "open_files_limit": "open_files_limit",
}


class _Samples(Collector):
    """Samples by name, in the order in which they came."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}
        self._labels: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        """Take one sample; the first of a name says which labels all have."""
        if name not in self._families:
            self._labels[name] = tuple(labels)
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            known = metric_of(name)
            text = known.text if known else name.removesuffix("_total").replace("_", " ").capitalize()
            self._families[name] = kind(PREFIX + name.removesuffix("_total"), text, labels=list(labels))
        values = [labels.get(label, "") for label in self._labels[name]]
        self._families[name].add_metric(values, value)  # type: ignore[attr-defined]

    def collect(self) -> Iterable[Metric]:
        """Give one family for each name."""
        yield from self._families.values()


def metrics_text(
    answers: Sequence[Answer], report: Report | None = None, facts: Sequence[tuple[str, float, Mapping[str, str]]] = ()
) -> bytes:
    """Write what daemons answered to `status`, what a look at the machine found, and what is known of it beside."""
    samples = _Samples()
    pulses = report.pulses if report else ()
    up = {answer.daemon: answer.error is None for answer in answers} | {
        one.daemon: bool(one.document) for one in pulses
    }
    for daemon, there in up.items():
        samples.add("up", there, daemon=daemon)
    for name, value, labels in facts:
        samples.add(name, value, **labels)
    for pulse in pulses:
        _add_pulse(samples, pulse)
    for answer in answers:
        _add_answer(samples, answer)
    registry = CollectorRegistry()
    registry.register(samples)
    return generate_latest(registry)


def _add_pulse(samples: _Samples, pulse: Pulse) -> None:
    """Add what a daemon said of its health."""
    daemon, document = pulse.daemon, pulse.document
    if document is None:
        return
    samples.add("daemon_ready", pulse.state == READY, daemon=daemon)
    for key, name in (("started_at", "started_at_seconds"), ("loop_lag_s", "loop_lag_seconds")):
        if key in document:
            samples.add(name, document[key], daemon=daemon)
    for key, value in (document.get("process") or {}).items():
        samples.add(_PROCESS.get(key, key), value, daemon=daemon)
    _add_figures(samples, daemon, document)


def _add_figures(samples: _Samples, daemon: str, document: Mapping[str, Any]) -> None:
    summed: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for one in document.get("figures") or ():
        key = (str(one["name"]), tuple(sorted(one["labels"].items())))
        summed[key] = summed.get(key, 0.0) + one["value"]
    for (name, labels), value in summed.items():
        samples.add(name, value, daemon=daemon, **dict(labels))


def _add_answer(samples: _Samples, answer: Answer) -> None:
    """Add what a daemon counts for the status page."""
    daemon, document = answer.daemon, answer.document
    if document is None:
        return
    counted = {f"{name}_total": readings.get("uptime", 0) for name, readings in document.get("counters", {}).items()}
    for name in counters_of(daemon) if "counters" in document else ():
        counted.setdefault(name, 0)
    for name, value in counted.items():
        if name.startswith(_REFUSED):
            reason = name.removeprefix(_REFUSED).removesuffix("_total")
            samples.add("smtp_refused_total", value, daemon=daemon, reason=reason)
        else:
            samples.add(name, value, daemon=daemon)
    for name, value in document.get("gauges", {}).items():
        if isinstance(value, int | float):
            samples.add(name, value, daemon=daemon)
    if "oldest_message_at" in document:
        at = document["oldest_message_at"]
        samples.add("oldest_message_seconds", max(0.0, document["as_of"] - at) if at else 0.0, daemon=daemon)
    _add_figures(samples, daemon, document)


async def metrics_of(appliance: Appliance, place: Place, report: Report) -> bytes:
    """Write the metrics of a machine; `report` is the latest look at it."""
    answers, own = await asyncio.gather(answers_of(appliance), asyncio.to_thread(_own, place))
    for answer in answers:
        if answer.document:
            answer.document["as_of"] = appliance.now()
    facts = [("build_info", 1.0, {"version": appliance.version, "role": place.role}), *own]
    facts.append(("ready", float(report.state != FAILED), {}))
    facts += [
        ("check_state", float(STATES.index(_worst(report.checks, name))), {"check": name})
        for name in CHECKS[place.role]
    ]
    return metrics_text(answers, report, facts)


def _worst(checks: Iterable[Check], name: str) -> str:
    return max((one.state for one in checks if one.check == name), key=STATES.index, default=OK)


def _own(place: Place) -> list[tuple[str, float, Mapping[str, str]]]:
    """Look at disk and certificates; what cannot be read is left out."""
    found: list[tuple[str, float, Mapping[str, str]]] = []
    with contextlib.suppress(OSError):
        free, total = Disk().space(place.dir)
        sizes = {"free": free, "size": total, "reserve": share(place.reserve_percent / 100, total)}
        found += [(f"spool_{name}_bytes", float(octets), {}) for name, octets in sizes.items()]
    for name, file in place.certificates.items():
        with contextlib.suppress(OSError, ValueError):
            expires_at = describe(file.read_bytes()).expires_at
            found.append(("certificate_expires_at_seconds", expires_at, {"certificate": name}))
    return found
