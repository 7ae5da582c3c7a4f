"""Metrics are valid Prometheus text, one sample for each daemon, and a dead daemon is one too."""

from prometheus_client.parser import text_string_to_metric_families

from core.errors import GatepostError
from ops.cli.appliance import Answer
from ops.metrics import metrics_text


def test_each_daemon_has_its_samples() -> None:
    gateway = {"counters": {"inj_msgs": {"uptime": 5, "reset": 1, "lifetime": 9}}, "gauges": {"conn_in": 2}}
    other = {"counters": {"inj_msgs": {"uptime": 7}}, "gauges": {"conn_in": 0, "log_available": "not a number"}}
    answers = [
        Answer("gateway-0", gateway),
        Answer("gateway-1", other),
        Answer("delivery-queue", error=GatepostError("down", 69)),
    ]
    text = metrics_text(answers).decode()
    found = {
        (sample.name, sample.labels["daemon"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert {key: value for key, value in found.items() if value or "_total" not in key[0]} == {
        ("gatepost_up", "gateway-0"): 1,
        ("gatepost_up", "gateway-1"): 1,
        ("gatepost_up", "delivery-queue"): 0,
        ("gatepost_inj_msgs_total", "gateway-0"): 5,
        ("gatepost_inj_msgs_total", "gateway-1"): 7,
        ("gatepost_conn_in", "gateway-0"): 2,
        ("gatepost_conn_in", "gateway-1"): 0,
    }
    assert found["gatepost_rejected_recips_total", "gateway-0"] == 0, "a counter is there before its first event"
    assert ("gatepost_rejected_recips_total", "delivery-queue") not in found


def test_the_help_of_a_figure_repeated_its_name() -> None:
    document = {"counters": {"inj_msgs": {"uptime": 1}, "cache_exceptions": {"uptime": 1}}, "gauges": {"conn_in": 2}}
    text = metrics_text([Answer("gateway-0", document)]).decode()
    assert "# HELP gatepost_inj_msgs_total Messages received\n" in text
    assert "# HELP gatepost_conn_in Open inbound connections\n" in text
    assert "# HELP gatepost_cache_exceptions_total Questions without an answer\n" in text
