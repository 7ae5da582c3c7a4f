"""Alerts, received by a real aiosmtpd."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP
from pydantic import ValidationError

from core.alert.alerts import Alerts
from core.alert.config import AlertRecipientSection, AlertsSection
from core.alert.kind import CRITICAL, INFO, WARNING, class_of
from core.alert.record import FILE, LARGEST, Alert, AlertRecords
from core.dns import Resolver
from core.maillog import MailLog
from tests.support.dns_server import DnsServer
from tests.support.service import running
from tests.support.sink import Inbox, receiving
from tests.support.waiting import until

MEMORY = "MAIL.RES_CON_START_ALERT.MEMORY"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def alerts(folder: Path, clock: Clock | None = None, dns: str = "127.0.0.1:9", **section: Any) -> Alerts:
    section.setdefault("recipients", ("ops@example.test",))
    return Alerts(
        AlertsSection.model_validate(section),
        hostname="esa.example.test",
        resolver=Resolver([dns], timeout_s=1),
        log=MailLog(folder / "log"),
        monotonic=clock or Clock(),
        retries_s=(0.01, 0.01),
    )


def lines(one: Alerts, folder: Path) -> str:
    one._log.flush()
    return (folder / "log").read_text()


async def test_an_alert_reaches_the_configured_host(tmp_path: Path) -> None:
    inbox = Inbox()
    async with receiving(inbox) as port:
        one = alerts(tmp_path, host="127.0.0.1", port=port)
        async with running(one):
            one.send(CRITICAL, MEMORY, "system (hostname: esa.example.test) has entered …")
            await inbox.until(1)
    (message,) = inbox.messages
    assert inbox.envelopes == [("alert@esa.example.test", ["ops@example.test"])]
    assert message["Subject"] == f"Critical {MEMORY}: esa.example.test"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().startswith("system (hostname: esa.example.test) has entered …")
    sent = f'A System/Critical alert was sent to ops@example.test with subject "Critical {MEMORY}: esa.example.test".'
    assert sent in lines(one, tmp_path)


async def test_without_a_host_the_mail_exchanger_of_the_recipient_is_asked(tmp_path: Path) -> None:
    inbox = Inbox()
    zone = ("example.test. 300 IN MX 10 mx.example.test.", "mx.example.test. 300 IN A 127.0.0.1")
    async with receiving(inbox) as port, DnsServer(*zone) as dns:
        one = alerts(tmp_path, dns=dns.address, port=port)
        async with running(one):
            one.send(INFO, "MAIL.X", "text")
            await inbox.until(1)


async def test_a_temporary_refusal_is_tried_again_and_a_final_one_is_not(tmp_path: Path) -> None:
    inbox = Inbox("451 later", "550 never")
    async with receiving(inbox) as port:
        one = alerts(tmp_path, host="127.0.0.1", port=port)
        async with running(one):
            one.send(INFO, "MAIL.A", "text")
            one.send(INFO, "MAIL.B", "text")
            one.send(INFO, "MAIL.C", "text")
            await inbox.until(1)
    assert [message["Subject"].split()[1] for message in inbox.messages] in (["MAIL.B:", "MAIL.C:"], ["MAIL.C:"])
    log = lines(one, tmp_path)
    assert "Internal SMTP Error: Failed to send message to host 127.0.0.1" in log
    assert 'giving up on message to ops@example.test with subject "Info MAIL.A: esa.example.test": 550 never' in log


async def test_nobody_there_is_a_line_in_the_log_and_nothing_else(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        one = alerts(tmp_path, host="127.0.0.1", port=free.getsockname()[1])
        async with running(one):
            one.send(WARNING, "MAIL.A", "text")
            await until(lambda: "giving up" in (tmp_path / "log").read_text(), despite=(FileNotFoundError,))
    assert lines(one, tmp_path).count("Failed to send message") == 3


async def test_repetition_is_limited_at_growing_intervals_and_counted(tmp_path: Path) -> None:
    inbox, clock = Inbox(), Clock()
    async with receiving(inbox) as port:
        one = alerts(tmp_path, clock, host="127.0.0.1", port=port)
        async with running(one):
            for _ in range(3):
                one.send(INFO, "MAIL.A", "text")
            clock.now += 300
            one.send(INFO, "MAIL.A", "again")
            clock.now += 301
            one.send(INFO, "MAIL.A", "too early: the interval has doubled")
            await inbox.until(2)
    assert one.suppressed == 3
    assert "(2 alerts of this kind were left out since the last one.)" in inbox.messages[1].get_content()


async def test_all_kinds_together_are_limited_and_what_is_too_slight_is_not_sent(tmp_path: Path) -> None:
    one = alerts(tmp_path, per_hour=2, severity="warning")
    for number in range(5):
        one.send(WARNING, f"MAIL.{number}", "text")
        one.send(INFO, f"MAIL.{number}", "text")
    assert (len(one._lanes["ops@example.test"].waiting), one.suppressed) == (2, 3)


async def test_without_recipients_nothing_is_kept(tmp_path: Path) -> None:
    one = alerts(tmp_path, recipients=())
    one.send(CRITICAL, "MAIL.A", "text")
    assert not one._lanes


async def test_a_recipient_whose_host_is_silent_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    inbox = Inbox()
    with socket.create_server(("127.0.0.2", 0)) as silent:
        port = silent.getsockname()[1]
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(inbox, hostname="in.test", loop=loop), "127.0.0.1", port)
        zone = ("dead.test. 300 IN A 127.0.0.2", "live.test. 300 IN A 127.0.0.1")
        async with server, DnsServer(*zone) as dns:
            recipients = ("ops@dead.test", "ops@live.test")
            one = alerts(tmp_path, dns=dns.address, port=port, recipients=recipients, timeout_s=120)
            async with asyncio.timeout(60), running(one):
                one.send(CRITICAL, "MAIL.A", "text")
                one.send(CRITICAL, "MAIL.B", "text")
                await inbox.until(2)
                silent.close()  # the attempt that waits there ends, and with it the service
    assert [envelope[1] for envelope in inbox.envelopes] == [["ops@live.test"]] * 2


def test_classes_come_from_the_longest_beginning_of_an_id() -> None:
    ids = ("MAIL.HOLD_QUEUE", "MAIL.RES_CON_START_ALERT.MEMORY", "TLS.CERTIFICATE_EXPIRES", "DHAP.X", "UNHEARD.OF")
    assert [class_of(one) for one in ids] == ["Mail", "System", "TLS", "DirectoryHarvest", "System"]


def test_a_recipient_takes_classes_and_what_is_said_of_a_class_counts_before_all() -> None:
    row = AlertRecipientSection(address="a@example.test", classes=("all", "tls/critical", "Log"), severity="warning")
    assert row.classes == ("All", "TLS/Critical", "Log")
    assert [row.takes("TLS", "Warning"), row.takes("TLS", "Critical")] == [False, True]
    assert [row.takes("Mail", "Info"), row.takes("Mail", "Warning"), row.takes("Log", "Warning")] == [False, True, True]
    assert not AlertRecipientSection(address="a@example.test", classes=("Mail",)).takes("Log", "Critical")


@pytest.mark.parametrize("choice", ["Nothing", "Mail/Grave", ""])
def test_classes_that_there_are_not_are_refused_with_those_that_there_are(choice: str) -> None:
    with pytest.raises(ValidationError, match="there are: "):
        AlertRecipientSection(address="a@example.test", classes=(choice,))


async def test_each_recipient_gets_the_classes_it_takes_and_every_alert_is_remembered(tmp_path: Path) -> None:
    inbox = Inbox("250 kept", "550 no such user")
    rows: list[dict[str, Any]] = [
        {"address": "mail@example.test", "classes": ["Mail"]},
        {"address": "grave@example.test"},
    ]
    rows[1]["severity"] = "critical"
    async with receiving(inbox) as port:
        one = Alerts(
            AlertsSection(host="127.0.0.1", port=port),
            [AlertRecipientSection.model_validate(row) for row in rows],
            hostname="esa.example.test",
            resolver=Resolver(["127.0.0.1:9"], timeout_s=1),
            log=MailLog(tmp_path / "log"),
            daemon="gateway-0",
            records=AlertRecords(tmp_path / "alerts"),
            monotonic=Clock(),
        )
        async with running(one):
            one.send(WARNING, "MAIL.HOLD_QUEUE", "message 5 waits")
            for _ in range(3):
                one.send(WARNING, "MAIL.HOLD_QUEUE", "message 6 waits")
            one.send(CRITICAL, "DISK.QUOTA", "the disk is full", about="log")
            one.send(INFO, "LOG.PUSH", "nobody wants to know")
    found = AlertRecords(tmp_path / "alerts").last(10)
    shown = {(row["alert"], row["state"]): row for row in found}
    assert set(shown) == {
        ("MAIL.HOLD_QUEUE", "sent"),
        ("MAIL.HOLD_QUEUE", "suppressed"),
        ("DISK.QUOTA", "sent"),
        ("LOG.PUSH", "suppressed"),
    }
    left_out = shown["MAIL.HOLD_QUEUE", "suppressed"]
    assert (left_out["times"], left_out["reason"]) == (3, "repeated too soon")
    assert shown["LOG.PUSH", "suppressed"]["reason"] == "nobody is to get Log/Info"
    states = [row["recipients"][0]["state"] for row in (shown["DISK.QUOTA", "sent"], shown["MAIL.HOLD_QUEUE", "sent"])]
    assert sorted(states) == ["delivered", "failed"]
    assert {row["daemon"] for row in found} == {"gateway-0"}


def test_records_are_bounded_and_a_line_that_a_crash_cut_costs_only_itself(tmp_path: Path) -> None:
    records = AlertRecords(tmp_path)
    text = "x" * 4000
    for number in range(0, 700, 50):
        many = range(number, number + 50)
        records.append(Alert(f"{n}", float(n), "d", "Mail", "Info", "MAIL.X", text) for n in many)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2 * LARGEST
    last = records.last(1000)
    assert last[0]["id"] == "699"
    assert len(last) > 200
    with open(tmp_path / FILE, "ab") as file:
        file.write(b'{"type":"alert","id":"cu')
    records.append([Alert("700", 700.0, "d", "Mail", "Info", "MAIL.X", "after")])
    assert [row["id"] for row in records.last(2)] == ["700", "699"]


async def test_an_alert_to_a_host_that_cannot_be_one_ends_no_daemon(tmp_path: Path) -> None:
    """The look-up of such a name raised past the delivery of alerts, and the gateway ended with its first alert."""
    for key, value in (("host", "a..b"), ("sender", "a@b\nBcc: c@d")):
        with pytest.raises(ValidationError):
            alerts(tmp_path, **{key: value})
    one = alerts(tmp_path)
    sections = [AlertsSection(recipients=("ops@example.test",)) for _ in range(2)]
    wrong = [
        sections[0].model_copy(update={"host": "a..b"}),
        sections[1].model_copy(update={"sender": "a@b\nBcc: c@d", "host": "127.0.0.1"}),
    ]
    async with running(one):
        for section, reason in zip(wrong, ("UnicodeError", "internal error, incident"), strict=True):
            one.adopt(section, ())
            one.send(CRITICAL, f"{MEMORY}.{reason}", "text")
            said = f": {reason}"
            await until(lambda said=said: said in lines(one, tmp_path), said, despite=(FileNotFoundError,))  # type: ignore[misc]
