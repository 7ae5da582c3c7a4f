"""The figures of a machine as Prometheus text: the command `metrics` and `/metrics`.

One sample for each daemon, by the names of the status page with `gatepost_` before them; counters are those since
the daemon started and end in `_total`. No label holds a domain or an address: their number has no bound.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ops.cli.appliance import Answer
from ops.figures import LABELS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Answers(Collector):
    """Metrics of answers that are there already."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers = answers

    def collect(self) -> Iterable[Metric]:
        """Give one family for each name."""
        up = GaugeMetricFamily("gatepost_up", "Whether the daemon answers", labels=["daemon"])
        families: dict[str, Metric] = {}
        for answer in self._answers:
            up.add_metric([answer.daemon], 0 if answer.error else 1)
            document: dict[str, Any] = answer.document or {}
            for name, readings in document.get("counters", {}).items():
                self._sample(families, name, answer.daemon, readings.get("uptime", 0), counter=True)
            for name, value in document.get("gauges", {}).items():
                if isinstance(value, int | float):
                    self._sample(families, name, answer.daemon, value, counter=False)
        yield up
        yield from families.values()

    @staticmethod
    def _sample(families: dict[str, Metric], name: str, daemon: str, value: float, *, counter: bool) -> None:
        full = f"gatepost_{name}"
        if counter:
            family = families.setdefault(full, CounterMetricFamily(full, _help(name), labels=["daemon"]))
        else:
            family = families.setdefault(full, GaugeMetricFamily(full, _help(name), labels=["daemon"]))
        family.add_metric([daemon], value)  # type: ignore[attr-defined]


def _help(name: str) -> str:
    """Say what a figure is: its label on the status page, else its name in words."""
    return LABELS.get(name) or name.replace("_", " ").capitalize()


def metrics_text(answers: Sequence[Answer]) -> bytes:
    """Write the metrics of all daemons of a machine."""
    registry = CollectorRegistry()
    registry.register(_Answers(answers))
    return generate_latest(registry)
