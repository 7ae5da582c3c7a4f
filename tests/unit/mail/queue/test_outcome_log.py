"""The bounce log and the delivery log beside the mail log; headers and responses as the mail log shows them."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from core.record import Accepted, Recipient
from mail.delivery.courier import Carried
from mail.queue.outcome_log import OutcomeLogs, response

NOW = 1_795_314_062.25


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class Lines:
    """A log that keeps its lines."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = critical = info


def parcel() -> Any:
    recipients = [Recipient(0, "bob&co@example.test"), Recipient(1, "eve@example.test")]
    accepted = Accepted(5, 7, NOW - 10, 'a"b@example.test', recipients, 123, remote_ip="192.0.2.7")
    accepted.noted.append(("X-Kind", "<news>"))
    message = SimpleNamespace(accepted=accepted)
    return SimpleNamespace(mid=5, sender=accepted.sender, recipients=recipients, message=message, attempts=0)


LINE: Any = SimpleNamespace(dcid=3, remote_ip="192.0.2.9")


def test_a_delivery_is_an_element_with_its_recipients_and_headers() -> None:
    log = Lines()
    results = [Carried(rid, "delivered", 250, "2.0.0", "Ok: Message 9 accepted") for rid in (0, 1)]
    OutcomeLogs(None, log, lambda: NOW).delivered(parcel(), LINE, results)
    root = ElementTree.fromstring(log.lines[0])
    assert (root.tag, root.attrib) == (
        "success",
        {
            "del_time": "Sun Nov 22 02:21:02.250 2026",
            "inj_time": "Sun Nov 22 02:20:52.250 2026",
            "bytes": "123",
            "mid": "5",
            "ip": "192.0.2.9",
            "from": 'a"b@example.test',
            "source_ip": "192.0.2.7",
            "code": "250",
            "reply": "Message 9 accepted",
        },
    )
    assert [one.attrib for one in root.findall("rcpt")] == [
        {"rid": "0", "to": "bob&co@example.test", "attempts": "1"},
        {"rid": "1", "to": "eve@example.test", "attempts": "1"},
    ]
    assert [one.attrib for one in root.findall("customer_data/header")] == [{"name": "X-Kind", "value": "<news>"}]


def test_a_bounce_is_an_element_and_a_line_of_the_bounce_log() -> None:
    bounces, deliveries = Lines(), Lines()
    OutcomeLogs(bounces, deliveries, lambda: NOW).failed(parcel(), None, [Carried(1, "hard", 550, "5.1.1", "no such")])
    root = ElementTree.fromstring(deliveries.lines[0])
    assert (root.tag, root.get("reason"), root.get("code"), root.get("error"), root.get("ip")) == (
        "bounce",
        "5.1.1 - Bad destination email address",
        "550",
        "no such",
        "",
    )
    assert bounces.lines[0].startswith("Bounced: 5:1 From:<")


def test_a_log_that_nobody_subscribes_to_is_not_even_worded() -> None:
    OutcomeLogs(Lines(silent=True), Lines(silent=True)).failed(None, None, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "shown"),
    [("Ok: Message 5 accepted ", "Message 5 accepted"), ("ok", "ok"), (" - queued as X", "queued as X"), ("", "")],
)
def test_a_response_is_shown_without_what_all_have(said: str, shown: str) -> None:
    assert response(said) == shown
