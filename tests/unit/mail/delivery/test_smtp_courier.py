"""`mail.delivery.smtp_courier`: real connections to scripted hosts."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dns.rcode
import pytest

from core.dns import Resolver
from core.record import Accepted, Edit, Outcome, Recipient
from core.smtp.client_settings import ConnectionSettings, Timeouts
from mail.delivery import smtp_courier
from mail.delivery.resolve import DestinationResolver
from mail.delivery.route import Route, SmtpRoutes
from mail.delivery.smtp_courier import SmtpCourier
from protocol.errors import TemporaryFailure
from protocol.smtp.client_settings import ClientSettings
from tests.support.dns_server import DnsServer
from tests.support.level import LevelSecurity
from tests.support.ports import free_port
from tests.support.queue_machine import FakeLog
from tests.support.scripted_server import Peer, ScriptedServer


def courier(log: FakeLog, *hosts: str, server: str = "127.0.0.1:1") -> SmtpCourier:
    numbers = iter(range(1, 100))
    resolver = DestinationResolver(Resolver([server]), SmtpRoutes([Route("ALL", hosts)]))
    settings = ConnectionSettings(ClientSettings("esa.test"), Timeouts(connect_s=2))
    return SmtpCourier(
        resolver,
        settings,
        security=LevelSecurity(lambda _: "off"),
        next_dcid=numbers.__next__,
        log=log,
        now=lambda: 1.0,
    )


def job(*recipients: str, content: bytes = b"A: b\r\n\r\nhi\r\n", edits: Sequence[Edit] = ()) -> Any:
    rows = [Recipient(rid, address) for rid, address in enumerate(recipients)]
    accepted = Accepted(7, 1, 0.0, "a@here.test", rows, len(content), trace=b"Received: here\r\n")
    return SimpleNamespace(
        mid=7,
        sender="a@here.test",
        recipients=rows,
        accepted=accepted,
        outcome=Outcome(7, "deliver", edits=list(edits)),
        chunks=lambda: (content,),
    )


async def greet(peer: Peer) -> None:
    await peer.say("220 mx.test")
    await peer.hear("EHLO esa.test")
    await peer.say("250-mx.test", "250-PIPELINING", "250 ENHANCEDSTATUSCODES")


async def test_what_is_remembered_of_domains_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table only grew, with every domain that a bounce named."""
    monkeypatch.setattr(smtp_courier, "MOST_KNOWN", 3)
    one = courier(FakeLog(), "127.0.0.1:1")
    for number in range(5):
        with pytest.raises(TemporaryFailure):
            await one.open(f"d{number}.test", "")
    assert [one.known(f"d{number}.test") is not None for number in range(5)] == [False, False, True, True, True]


async def test_trace_and_edits_come_before_the_content_and_each_recipient_has_its_result() -> None:
    got = []

    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.hear(
            "MAIL FROM:<a@here.test>", "RCPT TO:<b@x.test>", "RCPT TO:<c@x.test>", "RCPT TO:<d@x.test>", "DATA"
        )
        await peer.say("250 2.1.0 ok", "250 2.1.5 ok", "550 5.1.1 who", "451 4.2.1 busy", "354 go")
        got.append(await peer.content())
        await peer.say("250 2.0.0 taken as 9")
        await peer.hear("QUIT")
        await peer.say("221 bye")

    log = FakeLog()
    async with ScriptedServer(script) as server:
        line = await courier(log, f"127.0.0.1:{server.port}").open("x.test", "")
        results = await line.send(job("b@x.test", "c@x.test", "d@x.test", edits=[Edit("insert", "X-Y", "z")]))
        assert line.usable
        await line.close()
    assert got == [b"Received: here\r\nX-Y: z\r\nA: b\r\n\r\nhi\r\n.\r\n"]
    assert [(one.rid, one.kind, one.code, one.enhanced, one.text) for one in results] == [
        (0, "delivered", 250, "2.0.0", "taken as 9"),
        (1, "hard", 550, "5.1.1", "who"),
        (2, "soft", 451, "4.2.1", "busy"),
    ]
    assert log.lines == [
        f"New SMTP DCID 1 interface 127.0.0.1 address 127.0.0.1 port {server.port}",
        "DCID 1 close",
    ]


async def test_a_kept_connection_that_was_closed_meanwhile_is_nobodys_failure() -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.hear("MAIL", "RCPT", "DATA")
        await peer.say("250 ok", "250 ok", "354 go")
        await peer.content()
        await peer.say("250 ok")
        await peer.hear("MAIL", "RCPT", "DATA")

    async with ScriptedServer(script) as server:
        line = await courier(FakeLog(), f"127.0.0.1:{server.port}").open("x.test", "")
        assert [one.kind for one in await line.send(job("b@x.test"))] == ["delivered"]
        assert [one.kind for one in await line.send(job("b@x.test"))] == ["returned"]
        assert not line.usable
        await line.close()


async def test_a_connection_lost_on_its_first_message_is_a_soft_failure() -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.hear("MAIL")

    async with ScriptedServer(script) as server:
        line = await courier(FakeLog(), f"127.0.0.1:{server.port}").open("x.test", "")
        (result,) = await line.send(job("b@x.test"))
        assert (result.kind, result.code) == ("soft", 0)
        await line.close()


async def test_the_next_host_is_tried_and_the_dead_one_put_last() -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.hear("QUIT")
        await peer.say("221 bye")

    log = FakeLog()
    async with ScriptedServer(script) as server:
        one = courier(log, f"127.0.0.2:{free_port()}/pri=0", f"127.0.0.1:{server.port}/pri=10")
        for _ in range(2):
            await (await one.open("x.test", "")).close()
    assert len(log.having("Connection Error: DCID: 1 IP: 127.0.0.2")) == 1
    assert len(log.having("New SMTP DCID")) == 2


async def test_no_host_answers() -> None:
    log = FakeLog()
    with pytest.raises(TemporaryFailure):
        await courier(log, f"127.0.0.1:{free_port()}").open("x.test", "")
    assert log.having("Connection Error: DCID: 1 IP: 127.0.0.1")


async def test_a_lookup_that_nobody_answers_has_its_line() -> None:
    log = FakeLog()
    async with DnsServer(rules={("x.test", "MX"): dns.rcode.SERVFAIL}) as server:
        one = courier(log, "USEDNS", server=server.address)
        with pytest.raises(TemporaryFailure):
            await one.open("x.test", "")
    assert log.having("DNS Temporary Failure") == ["DNS Temporary Failure x.test MX - ServFail"]


async def test_dev_null_takes_everything(tmp_path: Path) -> None:
    line = await courier(FakeLog(), "/dev/null").open("x.test", "")
    assert [one.kind for one in await line.send(job("b@x.test"))] == ["delivered"]


async def test_after_new_routes_an_open_line_carries_nothing_more_and_the_next_one_is_handled_anew() -> None:
    async def script(peer: Peer) -> None:
        await greet(peer)
        await peer.hear("QUIT")
        await peer.say("221 bye")

    async with ScriptedServer(script) as server:
        one = courier(FakeLog(), f"127.0.0.1:{server.port}")
        before = await one.open("x.test", "")
        one.forget(moved=False)
        assert before.usable
        one.handle("bounce", True)
        one.forget()
        assert not before.usable
        after = await one.open("x.test", "")
        assert after.usable
        (judged,) = await after.send(job("b@x.test", content="A: b\r\n\r\né\r\n".encode()))
        assert judged.kind == "hard"
        await before.close()
        await after.close()
