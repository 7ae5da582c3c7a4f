"""The XML form of the status document has the names and times that its readers know."""

from xml.etree import ElementTree

from ops.web.xml import status_xml

DOCUMENT = {
    "state": "Delivery suspended",
    "as_of": 1_795_314_062.0,
    "up_since_at": 1_795_310_000.0,
    "oldest_message_at": 1_795_314_002.4,
    "counters": {"inj_msgs": {"reset": 1, "uptime": 2, "lifetime": 3}, "not_a_status_counter": {"reset": 9}},
    "rates": {"inj_msgs": {"1m": 60, "5m": 12, "15m": 4}},
    "gauges": {"conn_in": 4, "log_available": 148 << 30, "message_id": 77},
}


def test_counters_rates_gauges_and_ids() -> None:
    root = ElementTree.fromstring(status_xml(DOCUMENT, build="Gatepost 0.1", hostname='<esa> & "co"'))
    assert (root.tag, root.get("timestamp"), root.get("hostname")) == ("status", "20261122022102", '<esa> & "co"')
    assert root.find("system").attrib == {"status": "delivery suspended"}  # type: ignore[union-attr]
    assert root.find("oldest_message").get("secs") == "60"  # type: ignore[union-attr]
    counters = {one.get("name"): one for one in root.iter("counter")}
    assert counters["inj_msgs"].attrib == {"name": "inj_msgs", "reset": "1", "uptime": "2", "lifetime": "3"}
    assert counters["5xx_hard_bounced_recips"].get("lifetime") == "0"
    assert "not_a_status_counter" not in counters
    rate = next(root.iter("rate"))
    assert rate.attrib == {"name": "inj_msgs", "last_1_min": "60", "last_5_min": "12", "last_15_min": "4"}
    gauges = {one.get("name"): one.get("current") for one in root.iter("gauge")}
    assert gauges == {"conn_in": "4", "log_available": "148G"}
    assert root.find("current_ids").attrib == {"message_id": "77"}  # type: ignore[union-attr]
    assert root.find("birth_time").get("timestamp") == "20261122011320"  # type: ignore[union-attr]
    assert root.find("last_counter_reset").get("timestamp") == ""  # type: ignore[union-attr]
