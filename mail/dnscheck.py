"""The dnscheck auto-responder: mail to one address is answered with what the DNS says of its sender (behaviour 2.29).

Four tests: the client's address has a name (PTR), that name leads back to the address (A), the name in EHLO leads to
the address too, and the domain of EHLO or of the sender takes mail (MX). The message comes by the normal road, is
journaled like any other and not delivered. The intake asks `asks` for each message and calls `answer` once it is
durable; an answer that a crash prevents is not made up for. Never answered: the null sender, programs and lists
(RFC 3834 2), ourselves, and whoever is over the rate. Logs what it does; raises nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

from core import clock
from core.dns import DnsError, DnsTemporary, Resolver
from core.ids import IdBlocks
from core.maillog import Log, clean
from core.record import Accepted, Recipient
from core.runtime import spawn
from mail.bounce.cap import Cap
from mail.mime import Headers
from protocol.dsn import date

AT_ONCE: Final = 20
"""Answers that are being found out; more mail of that kind gets none."""
TESTS_S: Final = 30.0
_NAMES: Final = 5
_PROGRAMS: Final = ("mailer-daemon", "postmaster", "listserv", "majordomo")
_LIST_FIELDS: Final = (b"list-id", b"list-unsubscribe", b"list-post", b"x-loop")

Submit = Callable[[Accepted, bytes], None]
"""Queues a message of our own."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the configuration says; no `address` = nothing is answered."""

    address: str = ""
    per_hour: int = 100
    per_domain_per_hour: int = 10


@dataclass(frozen=True, slots=True)
class Test:
    """One test: what was asked, whether it passed (None = nobody could tell), and what was found."""

    title: str
    passed: bool | None
    found: str


class DnsCheck:
    """The responder of one process."""

    def __init__(
        self,
        choices: Choices,
        resolver: Resolver,
        *,
        hostname: str,
        mids: IdBlocks,
        submit: Submit,
        log: Log,
        now: clock.Clock = clock.now,
        start: Callable[[Coroutine[Any, Any, None], str], object] = spawn,
    ) -> None:
        """`submit` queues an answer, `start` runs a task."""
        self._resolver = resolver
        self._hostname = hostname
        self._mids = mids
        self._submit = submit
        self._log = log
        self._now = now
        self._start = start
        self._working = 0
        self.follow(choices)

    def follow(self, choices: Choices) -> None:
        """Go by other choices; the rate is counted anew."""
        self._shown = choices.address
        self._address = choices.address.lower()
        self._cap = Cap(choices.per_hour, choices.per_domain_per_hour, clock.monotonic)

    def asks(self, accepted: Accepted) -> bool:
        """Tell whether one of the recipients is the responder, and take it off a message that has others too."""
        address = self._address
        if not address:
            return False
        rows = accepted.recipients
        others = [row for row in rows if row.address.lower() != address]
        if others and len(others) < len(rows):
            rows[:] = others
            return True
        return not others and bool(rows)

    def is_only(self, accepted: Accepted) -> bool:
        """Tell whether nobody else is to get a message that asks."""
        return all(row.address.lower() == self._address for row in accepted.recipients)

    def answer(self, accepted: Accepted, headers: Headers) -> None:
        """Find the answer out and send it, in a task of its own; or say in the log why there is none."""
        reason = self._refusal(accepted, headers)
        if reason:
            self._log.info(f"MID {accepted.mid} dnscheck: no answer: {reason}")
            return
        self._working += 1
        self._start(self._work(accepted, headers), f"dnscheck of MID {accepted.mid}")

    def _refusal(self, accepted: Accepted, headers: Headers) -> str:
        if why := _automatic(accepted.sender, headers):
            return why
        if accepted.sender.lower() == self._address:
            return "it is from the address of the responder"
        if self._working >= AT_ONCE:
            return f"{AT_ONCE} others are being worked on"
        return self._cap.take(accepted.sender).replace("reports", "answers")

    async def _work(self, accepted: Accepted, headers: Headers) -> None:
        try:
            tests = await self.tests(accepted)
            record, content = self._letter(accepted, headers, tests)
            self._submit(record, content)
            passed = sum(test.passed is True for test in tests)
            self._log.info(f"MID {accepted.mid} dnscheck: {passed} of {len(tests)} passed; answer MID {record.mid}")
        finally:
            self._working -= 1

    async def tests(self, accepted: Accepted) -> list[Test]:
        """Make the four tests of a message's client and names."""
        try:
            async with asyncio.timeout(TESTS_S):
                return await self._tests(accepted)
        except TimeoutError:
            return [Test("DNS", None, f"no answers within {TESTS_S:g} s")]

    async def _tests(self, accepted: Accepted) -> list[Test]:
        client, helo = accepted.remote_ip, accepted.helo
        pointer, names = await self._pointer(client)
        forward = await self._leads_back(f"A: the name leads back to {client}", names, client, "there is no name")
        named = [] if _is_literal(helo) else [helo]
        none = f"{helo or 'EHLO'} is no name"
        greeting = await self._leads_back(f"HELO: {helo or '(none)'} leads to {client}", named, client, none)
        domains = list(dict.fromkeys([*named, accepted.sender.rpartition("@")[2].lower()]))
        return [pointer, forward, greeting, await self._takes_mail(domains)]

    async def _pointer(self, client: str) -> tuple[Test, list[str]]:
        title = f"PTR: {client} has a name"
        try:
            names = list((await self._resolver.ptr(client)).records[:_NAMES])
        except DnsError as error:
            return Test(title, _verdict(error), error.reason), []
        return Test(title, bool(names), ", ".join(names) or "none"), names

    async def _leads_back(self, title: str, names: list[str], client: str, none: str) -> Test:
        async def look(name: str) -> tuple[bool, str]:
            addresses = (await self._resolver.addresses(name)).records
            return any(_same(address, client) for address in addresses), ", ".join(addresses[:_NAMES])

        return await _one_of(title, names, look, none)

    async def _takes_mail(self, domains: list[str]) -> Test:
        async def look(domain: str) -> tuple[bool, str]:
            hosts = (await self._resolver.mx(domain)).records
            shown = ", ".join(f"{one.preference} {one.host}" for one in hosts[:_NAMES])
            return bool(hosts) and hosts[0].host != ".", shown or "none"

        return await _one_of(f"MX: {' or '.join(domains)} has mail exchangers", domains, look)

    def _letter(self, accepted: Accepted, headers: Headers, tests: list[Test]) -> tuple[Accepted, bytes]:
        """Make the answer: its record and its content."""
        mid, now = self._mids.next(), self._now()
        failed = [test for test in tests if test.passed is not True]
        outcome = "all tests passed" if not failed else f"{len(tests) - len(failed)} of {len(tests)} tests passed"
        fields = [
            f"Date: {date(now)}",
            f"From: DNS check <{self._shown}>",
            f"To: <{accepted.sender}>",
            f"Subject: DNS check: {outcome}",
            f"Message-ID: <{mid}.{int(now)}.dnscheck@{self._hostname}>",
            "Auto-Submitted: auto-replied",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: 8bit",
        ]
        if asked := _message_id(headers):
            fields += [f"In-Reply-To: {asked}", f"References: {asked}"]
        words = {True: "passed", False: "FAILED", None: "unknown"}
        body = [f"Your message reached {self._hostname} from {accepted.remote_ip}.", ""]
        for number, test in enumerate(tests, 1):
            body += [f"{number}. {clean(test.title, 300)}: {words[test.passed]}", f"   {clean(test.found, 500)}"]
        body += ["", "This answer was made by a program."]
        content = "\r\n".join([*fields, "", *body, ""]).encode("utf-8", "replace")
        record = Accepted(
            mid,
            0,
            now,
            "",
            [Recipient(0, accepted.sender, notify="NEVER")],
            len(content),
            listener="dnscheck",
            body="7BIT" if content.isascii() else "8BITMIME",
            smtputf8=not accepted.sender.isascii(),
            subject=f"DNS check: {outcome}",
        )
        return record, content


def _verdict(error: DnsError) -> bool | None:
    return None if isinstance(error, DnsTemporary) else False


async def _one_of(
    title: str, names: list[str], look: Callable[[str], Awaitable[tuple[bool, str]]], none: str = ""
) -> Test:
    """Test whether one of several names is good; `look` tells of one whether it is, and what there is of it."""
    found: list[str] = []
    verdict: bool | None = False
    for name in names:
        try:
            good, shown = await look(name)
        except DnsError as error:
            good, shown = False, error.reason
            verdict = verdict if verdict is None else _verdict(error)
        found.append(f"{name}: {shown}")
        if good:
            return Test(title, True, found[-1])
    return Test(title, verdict, "; ".join(found) or none)


def _automatic(sender: str, headers: Headers) -> str:
    """Say why a message is one that programs do not answer (RFC 3834 2); '' if it is not."""
    if not sender or "@" not in sender:
        return "the null sender"
    local = sender.rpartition("@")[0].lower()
    if local in _PROGRAMS or local.startswith("owner-") or local.endswith(("-request", "-owner", "-bounces")):
        return "a program's address"
    if headers.first(b"auto-submitted").split(b";")[0].strip().lower() not in (b"", b"no"):
        return "Auto-Submitted"
    if headers.first(b"precedence").strip().lower() in (b"bulk", b"junk", b"list"):
        return "Precedence"
    return "a list" if any(headers.first(name) for name in _LIST_FIELDS) else ""


def _is_literal(helo: str) -> bool:
    return not helo or helo.startswith("[") or "." not in helo


def _same(one: str, other: str) -> bool:
    try:
        return ip_address(one) == ip_address(other)
    except ValueError:
        return False


def _message_id(headers: Headers) -> str:
    value = headers.first(b"message-id").strip()
    fits = value.startswith(b"<") and value.endswith(b">") and len(value) < 500 and value.isascii()
    text = value.decode("ascii") if fits else ""
    return text if text.isprintable() and " " not in text else ""
