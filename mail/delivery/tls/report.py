"""Reports on TLS (RFC 8460): the documents, the view of the counters, and once a day a report to who asks for it.

A service. A report goes to each `rua` of the domain's `_smtp._tls` record: by POST, or as a message through the queue
with the null sender, so that nothing comes back, and with `TLS-Required: No`. Logs each report.
"""

import base64
import calendar
import gzip
import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.dns import DnsError, Resolver
from core.errors import GatepostError
from core.https import HttpsClient, HttpsError
from core.lifecycle import Scope
from core.maillog import Log, clean
from core.sqlite import DatabaseError, DatabaseThread
from mail.delivery.tls import store
from mail.delivery.tls.store import Row
from mail.delivery.tls.tally import KEEP_DAYS, Tally, day_of

_FIRST_S, _LOOK_S = 2.0, 600.0
_DAY_S = 86_400
SPREAD_S = 4 * 3600
"""Within this after the end of a day its reports go out (RFC 8460 4.1)."""
_MEDIA = "application/tlsrpt+gzip"
Submit = Callable[[str, bytes], None]
"""Queues a message for an address."""


@dataclass(frozen=True)
class Reporter:
    """Who reports."""

    organization: str
    contact: str
    hostname: str


class TlsReports:
    """Makes and sends reports."""

    name = "TLS reports"

    def __init__(
        self,
        database: DatabaseThread,
        tally: Tally,
        *,
        who: Reporter,
        resolver: Resolver,
        https: HttpsClient,
        submit: Submit,
        folder: Path,
        enabled: bool,
        log: Log,
        now: Clock,
    ) -> None:
        """`submit` queues a message; `folder` is where reports are written on demand."""
        self._database = database
        self._tally = tally
        self._who = who
        self._resolver = resolver
        self._https = https
        self._submit = submit
        self._folder = folder
        self._enabled = enabled
        self._log = log
        self._now = now

    def reconfigure(self, who: Reporter, *, enabled: bool) -> None:
        """Report in another name, or begin or cease to report; what is due now goes out at the next look."""
        self._who = who
        self._enabled = enabled

    async def run(self, scope: Scope) -> None:
        """Report on each day once it is over."""
        scope.ready()
        wait_s = _FIRST_S
        while await scope.pause(wait_s):
            wait_s = _LOOK_S
            try:
                if self._enabled:
                    await self.report()
                await self._database.change(store.forget_before, day_of(self._now() - KEEP_DAYS * _DAY_S))
            except DatabaseError as problem:
                self._log.warning(f"TLS reports: not made: {problem}")

    async def report(self) -> int:
        """Send what is due; gives how many domains were reported to."""
        await self._tally.write()
        done = 0
        for day, domain in await self._database.run(store.unreported, day_of(self._now())):
            if self._now() < due_at(self._who.hostname, day, domain):
                continue
            rows = await self._database.run(store.counted, day, domain)
            done += await self._send(day, domain, rows)
            await self._database.change(store.mark_reported, day, domain)
        return done

    async def _send(self, day: str, domain: str, rows: Sequence[Row]) -> bool:
        try:
            wanted = addresses_of((await self._resolver.txt(f"_smtp._tls.{domain}")).records)
        except DnsError:
            return False
        report = document(self._who, day, domain, rows)
        data = gzip.compress(json.dumps(report).encode())
        sent = False
        for address in wanted:
            sent = await self._send_to(address, domain, report, data) or sent
        return sent

    async def _send_to(self, address: str, domain: str, report: dict[str, Any], data: bytes) -> bool:
        try:
            if address.startswith("https:"):
                await self._https.post(address, data, _MEDIA)
            else:
                to = address.removeprefix("mailto:")
                self._submit(to, message(self._who, to, report, data, self._now()))
        except (HttpsError, OSError) as problem:
            self._log.info(f"TLS report for {clean(domain)} not sent to {clean(address)}: {clean(str(problem))}")
            return False
        self._log.info(f"TLS report for {clean(domain)} sent to {clean(address)}")
        return True

    async def verb(self, args: dict[str, Any]) -> dict[str, Any]:
        """Answer `tlsreport {domain?, day?, write?}`: what was counted; `write` also writes the reports to files."""
        await self._tally.write()
        day, domain = str(args.get("day") or ""), str(args.get("domain") or "").lower()
        if day and not re.fullmatch(r"\d{4}-\d\d-\d\d", day):
            raise GatepostError(f"{clean(day)!r} is no day; give one as 2026-11-22", 65)
        rows = await self._database.run(store.counted, day, domain)
        shown = [
            {
                "day": row.key.day,
                "domain": row.key.domain,
                "policy": row.key.kind,
                "successful": row.good,
                "failed": sum(number for _, number in row.failures),
                "failures": [{**detail._asdict(), "count": number} for detail, number in row.failures],
            }
            for row in rows
        ]
        files = self._write(rows) if args.get("write") else []
        return {"sending": self._enabled, "sessions": shown, "files": files}

    def _write(self, rows: Sequence[Row]) -> list[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        files = []
        for day, domain in sorted({(row.key.day, row.key.domain) for row in rows}):
            of_domain = [row for row in rows if (row.key.day, row.key.domain) == (day, domain)]
            file = self._folder / f"{re.sub('[^a-z0-9.-]', '_', domain)}!{day}.json.gz"
            file.write_bytes(gzip.compress(json.dumps(document(self._who, day, domain, of_domain)).encode()))
            files.append(str(file))
        return files


def due_at(hostname: str, day: str, domain: str) -> float:
    """Say when the report on a day goes to a domain: always the same moment, another for each sender and domain.

    Who is sent reports by many does not get them all at midnight.
    """
    share = zlib.crc32(f"{hostname} {day} {domain}".encode()) / 2**32
    return calendar.timegm(time.strptime(day, "%Y-%m-%d")) + _DAY_S + share * SPREAD_S


def addresses_of(texts: Sequence[str]) -> list[str]:
    """Give the `rua` of the one good record (RFC 8460 3), only mailto: and https:, five at most."""
    found = [text for text in texts if re.match(r"v=TLSRPTv1[ \t]*;", text)]
    if len(found) != 1:
        return []
    match = re.search(r";[ \t]*rua[ \t]*=[ \t]*([^;]+)", found[0])
    addresses = [one.strip() for one in match[1].split(",")] if match else []
    return [one for one in addresses if re.fullmatch(r"mailto:[^@\s<>?]+@[^@\s<>?]+|https://[^\s<>]+", one)][:5]


def document(who: Reporter, day: str, domain: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Make the report on one day of one domain (RFC 8460 4.4)."""
    return {
        "organization-name": who.organization,
        "date-range": {"start-datetime": f"{day}T00:00:00Z", "end-datetime": f"{day}T23:59:59Z"},
        "contact-info": who.contact,
        "report-id": f"{day}.{domain}@{who.hostname}",
        "policies": [_policy(row) for row in rows],
    }


def _policy(row: Row) -> dict[str, Any]:
    known = json.loads(row.policy or "{}")
    details = []
    for detail, number in row.failures:
        one: dict[str, Any] = {"result-type": detail.result, "failed-session-count": number}
        if detail.host:
            one |= {"receiving-mx-hostname": detail.host, "receiving-ip": detail.address}
        if detail.reason:
            one["failure-reason-code"] = detail.reason
        details.append(one)
    policy: dict[str, Any] = {
        "policy": {"policy-type": row.key.kind, "policy-domain": row.key.domain, **known},
        "summary": {
            "total-successful-session-count": row.good,
            "total-failure-session-count": sum(number for _, number in row.failures),
        },
    }
    return policy | ({"failure-details": details} if details else {})


def message(who: Reporter, to: str, report: dict[str, Any], data: bytes, now: float) -> bytes:
    """Make the message that carries a report (RFC 8460 5.3)."""
    day, _, domain = str(report["report-id"]).rpartition("@")[0].partition(".")
    start = calendar.timegm(time.strptime(day, "%Y-%m-%d"))
    name = f"{who.hostname}!{domain}!{start}!{start + _DAY_S - 1}.json.gz"
    border = f"=_tlsrpt_{hashlib.sha256(data).hexdigest()[:32]}"  # RFC 2046 5.1.1: 70 characters at most
    encoded = base64.encodebytes(data).decode("ascii").replace("\n", "\r\n")
    date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(now))
    lines = [
        f"From: {who.organization} <{who.contact}>",
        f"To: <{to}>",
        f"Date: {date}",
        f"Message-ID: <{day}.{domain}.tlsrpt@{who.hostname}>",
        f"Subject: Report Domain: {domain} Submitter: {who.hostname} Report-ID: <{report['report-id']}>",
        f"TLS-Report-Domain: {domain}",
        f"TLS-Report-Submitter: {who.hostname}",
        "TLS-Required: No",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type="tlsrpt"; boundary="{border}"',
        "",
        f"--{border}",
        "Content-Type: text/plain; charset=us-ascii",
        "",
        f"TLS sessions of {who.hostname} with the mail hosts of {domain} on {day}.",
        f"--{border}",
        f"Content-Type: {_MEDIA}",
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{name}"',
        "",
        f"{encoded.rstrip()}",
        f"--{border}--",
        "",
    ]
    return "\r\n".join(lines).encode("utf-8")
