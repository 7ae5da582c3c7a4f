"""The dnscheck responder: four tests, answered once, to people only, never in a circle, and nothing is delivered."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from core.dns import Resolver
from core.ids import IdBlocks
from core.record import Accepted, Recipient
from mail.dnscheck import AT_ONCE, Choices, DnsCheck
from mail.mime import Headers
from tests.support.dns_server import DnsServer

ADDRESS = "dnscheck@example.test"
ZONE = (
    "7.2.0.192.in-addr.arpa. 60 IN PTR mail.sender.test.",
    "mail.sender.test. 60 IN A 192.0.2.7",
    "sender.test. 60 IN MX 10 mail.sender.test.",
    "8.2.0.192.in-addr.arpa. 60 IN PTR liar.test.",
    "liar.test. 60 IN A 192.0.2.99",
)


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str) -> None:
        self.lines.append(text)

    warning = critical = info


class World:
    """A responder whose answers are kept."""

    def __init__(self, folder: Path, dns: str, choices: Choices | None = None) -> None:
        self.sent: list[tuple[Accepted, bytes]] = []
        self.log = Log()
        self.work: list[Coroutine[Any, Any, None]] = []
        self.check = DnsCheck(
            choices or Choices(ADDRESS),
            Resolver([dns], timeout_s=2),
            hostname="esa.example.test",
            mids=IdBlocks(folder / "mid"),
            submit=lambda record, content: self.sent.append((record, content)),
            log=self.log,
            now=lambda: 1_795_314_062.0,
            start=lambda coro, _name: self.work.append(coro),
        )

    async def ask(self, message: Accepted, head: str = "Subject: x\r\n\r\n") -> str:
        """Hand a message in; gives the text of the answer, '' for none."""
        self.check.answer(message, Headers(head.encode()))
        before = len(self.sent)
        while self.work:
            await self.work.pop()
        return self.sent[-1][1].decode() if len(self.sent) > before else ""


def message(client: str = "192.0.2.7", helo: str = "mail.sender.test", sender: str = "ann@sender.test") -> Accepted:
    return Accepted(5, 1, 0.0, sender, [Recipient(0, ADDRESS)], 10, remote_ip=client, helo=helo)


async def test_a_host_in_order_passes_all_four(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        world = World(tmp_path, dns.address)
        text = await world.ask(message(), "Message-ID: <1@sender.test>\r\n\r\n")
    head, _, body = text.partition("\r\n\r\n")
    assert "Subject: DNS check: all tests passed\r\n" in head
    assert f"From: DNS check <{ADDRESS}>\r\nTo: <ann@sender.test>\r\n" in head
    assert "Auto-Submitted: auto-replied\r\n" in head
    assert "In-Reply-To: <1@sender.test>" in head
    assert body == (
        "Your message reached esa.example.test from 192.0.2.7.\r\n\r\n"
        "1. PTR: 192.0.2.7 has a name: passed\r\n   mail.sender.test\r\n"
        "2. A: the name leads back to 192.0.2.7: passed\r\n   mail.sender.test: 192.0.2.7\r\n"
        "3. HELO: mail.sender.test leads to 192.0.2.7: passed\r\n   mail.sender.test: 192.0.2.7\r\n"
        "4. MX: mail.sender.test or sender.test has mail exchangers: passed\r\n   sender.test: 10 mail.sender.test\r\n"
        "\r\nThis answer was made by a program.\r\n"
    )
    record = world.sent[0][0]
    assert (record.sender, record.recipients[0].address, record.recipients[0].notify) == (
        "",
        "ann@sender.test",
        "NEVER",
    )
    assert world.log.lines == [f"MID 5 dnscheck: 4 of 4 passed; answer MID {record.mid}"]


async def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        world = World(tmp_path, dns.address)
        text = await world.ask(message("192.0.2.8", "nowhere.test", "bob@nowhere.test"))
        assert "1. PTR: 192.0.2.8 has a name: passed" in text
        assert "2. A: the name leads back to 192.0.2.8: FAILED\r\n   liar.test: 192.0.2.99" in text
        assert "3. HELO: nowhere.test leads to 192.0.2.8: FAILED\r\n   nowhere.test: NXDomain" in text
        assert "4. MX: nowhere.test has mail exchangers: FAILED" in text
        assert "Subject: DNS check: 1 of 4 tests passed" in text
        text = await world.ask(message("203.0.113.9", "[203.0.113.9]"))
        assert "1. PTR: 203.0.113.9 has a name: FAILED" in text
        assert "3. HELO: [203.0.113.9] leads to 203.0.113.9: FAILED\r\n   [203.0.113.9] is no name" in text


async def test_what_nobody_can_tell_is_unknown_and_not_failed(tmp_path: Path) -> None:
    async with DnsServer(*ZONE, rules={("7.2.0.192.in-addr.arpa", "PTR"): "silent"}) as dns:
        text = await World(tmp_path, dns.address).ask(message())
    assert "1. PTR: 192.0.2.7 has a name: unknown" in text


async def test_a_name_cannot_write_into_the_answer(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        text = await World(tmp_path, dns.address).ask(message(helo="x.test\r\nBcc: all@sender.test\r\n\r\n"))
    assert "\r\nBcc:" not in text


@pytest.mark.parametrize(
    ("sender", "head", "reason"),
    [
        ("", "", "the null sender"),
        ("MAILER-DAEMON@sender.test", "", "a program's address"),
        ("news-bounces@sender.test", "", "a program's address"),
        (ADDRESS.upper(), "", "it is from the address of the responder"),
        ("ann@sender.test", "Auto-Submitted: auto-replied; x=1\r\n", "Auto-Submitted"),
        ("ann@sender.test", "Precedence: Bulk\r\n", "Precedence"),
        ("ann@sender.test", "List-Id: <a.sender.test>\r\n", "a list"),
    ],
    ids=["null", "daemon", "bounces", "itself", "auto", "bulk", "list"],
)
async def test_programs_are_never_answered(tmp_path: Path, sender: str, head: str, reason: str) -> None:
    world = World(tmp_path, "127.0.0.1:9")
    assert await world.ask(message(sender=sender), head + "\r\n") == ""
    assert world.log.lines == [f"MID 5 dnscheck: no answer: {reason}"]


async def test_auto_submitted_no_is_a_person(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        assert await World(tmp_path, dns.address).ask(message(), "Auto-Submitted: no\r\n\r\n")


async def test_the_rate_is_limited_by_domain_and_in_all(tmp_path: Path) -> None:
    async with DnsServer(*ZONE) as dns:
        world = World(tmp_path, dns.address, Choices(ADDRESS, per_hour=3, per_domain_per_hour=2))
        for _ in range(3):
            await world.ask(message())
        assert len(world.sent) == 2
        assert world.log.lines[-1] == "MID 5 dnscheck: no answer: more than 2 answers an hour to its domain"
        for domain in ("b.test", "c.test"):
            await world.ask(message(sender=f"x@{domain}"))
        assert len(world.sent) == 3


async def test_only_so_many_are_worked_on_at_once(tmp_path: Path) -> None:
    world = World(tmp_path, "127.0.0.1:9", Choices(ADDRESS, 10_000, 10_000))
    for _ in range(AT_ONCE + 1):
        world.check.answer(message(), Headers(b"\r\n"))
    assert len(world.work) == AT_ONCE
    for coro in world.work:
        coro.close()


def test_the_address_is_taken_off_a_message_that_has_others(tmp_path: Path) -> None:
    check = World(tmp_path, "127.0.0.1:9").check
    mixed = Accepted(5, 1, 0.0, "a@b", [Recipient(0, ADDRESS.upper()), Recipient(1, "c@example.test")], 1)
    assert check.asks(mixed)
    assert [row.address for row in mixed.recipients] == ["c@example.test"]
    assert not check.is_only(mixed)
    assert not check.asks(mixed)
    alone = message()
    assert check.asks(alone)
    assert check.is_only(alone)
    check.follow(Choices())
    assert not check.asks(alone)


async def test_the_message_comes_by_the_normal_road_and_is_not_delivered(tmp_path: Path) -> None:
    from tests.support.gateway import gateway

    async with DnsServer(*ZONE) as dns:
        with gateway(tmp_path) as under_test:
            intake = under_test.intake
            done = asyncio.Event()

            def submit(record: Accepted, content: bytes) -> None:
                intake.submit(record, content)
                done.set()

            mids = IdBlocks(tmp_path / "answers")
            resolver = Resolver([dns.address], timeout_s=2)
            choices = Choices("check@example.test")
            intake.responder = DnsCheck(
                choices, resolver, hostname="esa.example.test", mids=mids, submit=submit, log=under_test.log
            )
            client = under_test.connect()
            client.say("EHLO mail.sender.test", "MAIL FROM:<ann@sender.test>", "RCPT TO:<check@example.test>")
            await client.deliver(b"Subject: x\r\n\r\nhello\r\n")
            async with asyncio.timeout(30):
                await done.wait()
            lines = "\n".join(under_test.lines())
            assert "Message aborted MID 1 Answered by a responder" in lines
            assert "(dnscheck)" in lines or "dnscheck: " in lines
            assert "MID 1 queued for delivery" not in lines
