"""The status document as XML, in the form of behaviour 2.3 (`/xml/status`)."""

import time
from typing import Any
from xml.etree import ElementTree

from ops.figures import COUNTER_ROWS, CURRENT_IDS, GAUGE_ROWS, RATE_ROWS, amount
from ops.status import Document

_STATES = {
    "Online": "online",
    "Offline": "offline",
    "Receiving suspended": "receiving suspended",
    "Delivery suspended": "delivery suspended",
}


def status_xml(document: Document, *, build: str, hostname: str) -> bytes:
    """Write one document of `status`. Figures that this machine does not have are left out."""
    root = ElementTree.Element("status", build=build, hostname=hostname, timestamp=_stamp(document["as_of"]))
    _add(root, "birth_time", timestamp=_stamp(document.get("up_since_at")))
    _add(root, "last_counter_reset", timestamp=_stamp(document.get("counters_reset_at")))
    _add(root, "system", status=_STATES.get(document["state"], document["state"]))
    oldest = document.get("oldest_message_at")
    _add(root, "oldest_message", secs=round(max(0.0, document["as_of"] - oldest)) if oldest else 0)
    counters = _add(root, "counters")
    for name in _names(COUNTER_ROWS):
        found = document["counters"].get(name, {})
        readings = {reading: found.get(reading, 0) for reading in ("reset", "uptime", "lifetime")}
        _add(counters, "counter", name=name, **readings)
    ids = {name: document["gauges"][name] for name in CURRENT_IDS if name in document["gauges"]}
    _add(root, "current_ids", **ids)
    rates = _add(root, "rates")
    for name in _names(RATE_ROWS):
        found = document["rates"].get(name, {})
        windows = {f"last_{minutes}_min": found.get(f"{minutes}m", 0) for minutes in (1, 5, 15)}
        _add(rates, "rate", name=name, **windows)
    gauges = _add(root, "gauges")
    for name in _names(GAUGE_ROWS):
        if name in document["gauges"]:
            _add(gauges, "gauge", name=name, current=amount(name, document["gauges"][name]))
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _names(rows: Any) -> list[str]:
    return [row.name for row in rows if row.name]


def _add(parent: ElementTree.Element, tag: str, **attributes: Any) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})


def _stamp(at: float | None) -> str:
    """Write a time as YYYYMMDDhhmmss in UTC, '' for never."""
    return time.strftime("%Y%m%d%H%M%S", time.gmtime(at)) if at else ""
