"""`mail.delivery.tls.report` and `tally`: what is counted, who gets a report of it, and in which form."""

import email
import email.policy
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.dns import Resolver
from core.errors import GatepostError
from core.https import HttpsClient, HttpsSettings
from core.sqlite import DatabaseThread
from mail.delivery.tls import store
from mail.delivery.tls.report import SPREAD_S, Reporter, TlsReports, addresses_of, document, due_at, message
from mail.delivery.tls.store import Detail
from mail.delivery.tls.tally import Tally
from tests.support.authority import Authority, server_context
from tests.support.dns_server import DnsServer
from tests.support.https_server import HttpsServer
from tests.support.queue_machine import FakeLog

DAY_S = 86_400.0
NOON = 1_795_348_800.0  # 2026-11-22 12:00 UTC
CA = Authority("root")
EXPIRED = Detail("certificate-expired", "mx.x.test", "192.0.2.1", "the certificate has expired")


class Bench:
    """A tally and reports on it, with a clock."""

    def __init__(self, folder: Path, dns: DnsServer, enabled: bool = True) -> None:
        self.at = NOON
        self.submitted: list[tuple[str, bytes]] = []
        self.log = FakeLog()
        self.database = DatabaseThread(folder / "tls.db", store.SCHEMA)
        (folder / "ca.pem").write_bytes(CA.pem)
        self.tally = Tally(self.database, log=self.log, now=lambda: self.at)
        resolver = Resolver([dns.address])
        self.reports = TlsReports(
            self.database,
            self.tally,
            who=Reporter("Example", "tls@esa.test", "esa.test"),
            resolver=resolver,
            https=HttpsClient(resolver, HttpsSettings(authorities=str(folder / "ca.pem"), timeout_s=5)),
            submit=lambda to, message: self.submitted.append((to, message)),
            folder=folder / "reports",
            enabled=enabled,
            log=self.log,
            now=lambda: self.at,
        )


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer(
        '_smtp._tls.x.test. 300 IN TXT "v=TLSRPTv1; rua=mailto:r@x.test"', "in.y.test. 300 IN A 127.0.0.1"
    ) as one:
        yield one


@pytest.fixture
def bench(tmp_path: Path, dns: DnsServer) -> Any:
    one = Bench(tmp_path, dns)
    yield one
    one.database.close()


async def test_a_report_goes_out_once_when_its_day_is_over(bench: Bench) -> None:
    for _ in range(3):
        bench.tally.good("x.test", "sts", '{"policy-string": ["version: STSv1"], "mx-host": ["mx.x.test"]}')
    bench.tally.failed("x.test", "sts", '{"policy-string": ["version: STSv1"]}', EXPIRED)
    bench.tally.good("silent.test", "no-policy-found", "{}")
    assert await bench.reports.report() == 0
    bench.at += DAY_S
    assert await bench.reports.report() == 1
    assert await bench.reports.report() == 0
    ((to, data),) = bench.submitted
    assert to == "r@x.test"
    message = email.message_from_bytes(data, policy=email.policy.SMTP)
    assert message["TLS-Required"] == "No"
    assert message["TLS-Report-Domain"] == "x.test"
    assert message["TLS-Report-Submitter"] == "esa.test"
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "tlsrpt"
    _, part = message.iter_parts()  # type: ignore[attr-defined]
    assert part.get_content_type() == "application/tlsrpt+gzip"
    report = json.loads(gzip.decompress(part.get_content()))
    assert report == {
        "organization-name": "Example",
        "date-range": {"start-datetime": "2026-11-22T00:00:00Z", "end-datetime": "2026-11-22T23:59:59Z"},
        "contact-info": "tls@esa.test",
        "report-id": "2026-11-22.x.test@esa.test",
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": "x.test", "policy-string": ["version: STSv1"]},
                "summary": {"total-successful-session-count": 3, "total-failure-session-count": 1},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "failed-session-count": 1,
                        "receiving-mx-hostname": "mx.x.test",
                        "receiving-ip": "192.0.2.1",
                        "failure-reason-code": "the certificate has expired",
                    }
                ],
            }
        ],
    }


async def test_reports_on_a_day_are_spread_over_the_hours_after_it(bench: Bench, dns: DnsServer) -> None:
    """All reports of the world went out at midnight UTC (RFC 8460 4.1)."""
    midnight = NOON + DAY_S / 2
    due = [due_at("esa.test", "2026-11-22", f"d{number}.test") - midnight for number in range(200)]
    assert 0 <= min(due) < 600
    assert SPREAD_S - 600 < max(due) < SPREAD_S
    assert due_at("other.test", "2026-11-22", "d1.test") != due_at("esa.test", "2026-11-22", "d1.test")
    bench.tally.good("x.test", "sts", "{}")
    bench.at = due_at("esa.test", "2026-11-22", "x.test") - 1
    assert bench.at > midnight
    assert await bench.reports.report() == 0
    bench.at += 1
    assert await bench.reports.report() == 1


async def test_a_report_is_posted_where_that_is_asked_for(bench: Bench, dns: DnsServer) -> None:
    async with HttpsServer(server_context(*CA.host("in.y.test"))) as server:
        dns.add(f'_smtp._tls.y.test. 300 IN TXT "v=TLSRPTv1;rua=https://in.y.test:{server.port}/r"')
        bench.tally.good("y.test", "tlsa", "{}")
        bench.at += DAY_S
        assert await bench.reports.report() == 1
        line, fields, content = server.asked[0]
    assert (line, fields["content-type"]) == ("POST /r HTTP/1.1", "application/tlsrpt+gzip")
    assert json.loads(gzip.decompress(content))["policies"][0]["policy"]["policy-type"] == "tlsa"
    assert bench.log.having("TLS report for y.test sent to https://in.y.test")


async def test_what_was_counted_survives_and_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_DETAILS", 2)
    for number in range(4):
        bench.tally.failed("x.test", "tlsa", "{}", Detail("validation-failure", "mx", f"192.0.2.{number}", ""))
        await bench.tally.write()
    (row,) = await bench.database.run(store.counted)
    assert sum(number for _, number in row.failures) == 4
    assert sorted(detail.address for detail, _ in row.failures) == ["", "192.0.2.0", "192.0.2.1"]
    bench.at += 20 * DAY_S
    await bench.database.change(store.forget_before, "2026-12-01")
    assert await bench.database.run(store.counted) == []


async def test_a_day_that_is_none_is_refused(bench: Bench) -> None:
    with pytest.raises(GatepostError, match="is no day"):
        await bench.reports.verb({"day": "yesterday"})


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=TLSRPTv1; rua=mailto:a@x.test,https://y.test/r"], ["mailto:a@x.test", "https://y.test/r"]),
        (["v=TLSRPTv1;rua=mailto:a@x.test;"], ["mailto:a@x.test"]),
        (["v=TLSRPTv1; rua=http://x.test/, ftp://x.test, mailto:no one@x.test"], []),
        (["v=TLSRPTv1; rua=mailto:a@x.test", "v=TLSRPTv1; rua=mailto:b@x.test"], []),
        (["v=TLSRPTv2; rua=mailto:a@x.test"], []),
        ([], []),
    ],
)
def test_addresses_of_the_only_good_record(texts: list[str], found: list[str]) -> None:
    assert addresses_of(texts) == found


def test_the_boundary_of_a_report_on_a_domain_with_a_long_name_is_no_longer_than_mime_allows() -> None:
    domain = ".".join(["a" * 60] * 4)
    report = document(Reporter("Example", "tls@esa.test", "esa.test"), "2026-11-22", domain, [])
    made = message(Reporter("Example", "tls@esa.test", "esa.test"), "r@x.test", report, b"data", NOON)
    parsed = email.message_from_bytes(made, policy=email.policy.SMTP)
    boundary = parsed.get_boundary()
    assert boundary is not None
    assert len(boundary) <= 70
    assert len(list(parsed.iter_parts())) == 2


async def test_mail_that_an_operator_redirected_was_counted_under_the_name_of_its_queue(bench: Bench) -> None:
    bench.tally.good("[127.0.0.1]:2525", "no-policy-found", "{}")
    bench.tally.failed("[mx.x.test]:25", "no-policy-found", "{}", Detail("starttls-not-supported", "", "", ""))
    assert bench.tally._take() == ({}, {})
