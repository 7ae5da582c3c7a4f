"""The SMTP courier against real servers: Postfix with all its extensions and with fewer, and aiosmtpd."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

from core.dns import Resolver
from core.record import Recipient
from core.smtp.client_settings import ConnectionSettings
from mail.delivery.resolve import DestinationResolver
from mail.delivery.route import Route, SmtpRoutes
from mail.delivery.smtp_courier import SmtpCourier
from protocol.smtp.client_settings import ClientSettings
from tests.support.level import LevelSecurity
from tests.support.need import needs
from tests.support.postfix import running_postfix
from tests.support.queue_machine import FakeLog
from tests.support.waiting import until
from tests.unit.mail.delivery.test_carriage import job

pytestmark = needs("postfix")
TEXT = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"


class Box:
    """An aiosmtpd handler that keeps what it gets."""

    def __init__(self, *refused: str) -> None:
        self.kept: list[Envelope] = []
        self._refused = refused

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self._refused:
            return "550 5.1.1 nobody"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.kept.append(envelope)
        return "250 2.0.0 kept"

    async def bodies(self, count: int) -> list[bytes]:
        """Wait for so many messages; give what stands below their header sections."""
        await until(lambda: len(self.kept) >= count)
        return [bytes(one.content or b"").partition(b"\r\n\r\n")[2] for one in self.kept]


@asynccontextmanager
async def mailbox(box: Box, **options: Any) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(box, loop=loop, hostname="box.test", data_size_limit=10**8, **options), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def postfix(folder: Path, box: Box, **settings: str) -> AsyncIterator[int]:
    """Run Postfix in front of the box."""
    async with mailbox(box) as relay:
        started = running_postfix(folder, relay, **settings)
        port = await asyncio.to_thread(started.__enter__)
        try:
            yield port
        finally:
            await asyncio.to_thread(started.__exit__, None, None, None)


def courier(port: int, log: FakeLog) -> SmtpCourier:
    numbers = iter(range(1, 100))
    routes = SmtpRoutes([Route("ALL", (f"127.0.0.1:{port}",))])
    return SmtpCourier(
        DestinationResolver(Resolver(["127.0.0.1:1"]), routes),
        ConnectionSettings(ClientSettings("esa.test")),
        security=LevelSecurity(lambda _: "off"),  # type: ignore[arg-type, return-value]
        next_dcid=numbers.__next__,
        log=log,
        now=asyncio.get_running_loop().time,
    )


def rows(count: int) -> list[Recipient]:
    return [Recipient(rid, f"r{rid}@x.test") for rid in range(count)]


async def test_postfix_gets_chunks_and_every_octet_of_them(tmp_path: Path) -> None:
    bodies = [b".\r\n..\r\n.a\r\nsmall\r\n", b"mail from:<x>\r\n.\r\n", b"y" * 70 + b"\r\n", b"z\r\n" * 150_000]
    box = Box()
    async with postfix(tmp_path, box) as port:
        line = await courier(port, FakeLog()).open("x.test", "")
        for body in bodies:
            (result,) = await line.send(job(b"Subject: x\r\n\r\n" + body))
            assert (result.kind, result.code) == ("delivered", 250), result
            assert result.dsn
        await line.close()
        found = await box.bodies(len(bodies))
    assert sorted(found) == sorted(bodies)


async def test_postfix_takes_so_many_recipients_and_the_rest_goes_at_once(tmp_path: Path) -> None:
    box, log = Box(), FakeLog()
    async with postfix(tmp_path, box, smtpd_recipient_limit="2", smtpd_recipient_overshoot_limit="1000") as port:
        line = await courier(port, log).open("x.test", "")
        results = await line.send(job(b"Subject: x\r\n\r\nhi\r\n", *rows(5)))
        assert [(one.rid, one.kind) for one in results] == [(rid, "delivered") for rid in range(5)]
        await line.close()
        await box.bodies(3)
    assert sorted(address for one in box.kept for address in one.rcpt_tos) == [row.address for row in rows(5)]


async def test_postfix_without_8bitmime_gets_quoted_printable(tmp_path: Path) -> None:
    text = "Gr\u00fc\u00dfe aus K\u00f6ln, und noch etwas mehr Text\r\n"
    box = Box()
    async with postfix(tmp_path, box, smtpd_discard_ehlo_keywords="8bitmime,chunking,smtputf8") as port:
        line = await courier(port, FakeLog()).open("x.test", "")
        (result,) = await line.send(job(TEXT + text.encode(), body="8BITMIME"))
        assert result.kind == "delivered"
        signed = TEXT.replace(b"text/plain", b"multipart/signed; boundary=b") + b"--b\r\n\r\n\xc3\xa4\r\n--b--\r\n"
        (result,) = await line.send(job(signed, body="8BITMIME"))
        assert (result.kind, result.enhanced) == ("hard", "5.6.3")
        (result,) = await line.send(job("Subject: \u00fc\r\n\r\nhi\r\n".encode(), smtputf8=True))
        assert (result.kind, result.enhanced) == ("hard", "5.6.7")
        await line.close()
        await box.bodies(1)
    content = bytes(box.kept[0].content or b"")
    assert content.isascii()
    assert email.message_from_bytes(content, policy=email.policy.SMTP).get_payload(decode=True) == text.encode()


async def test_postfix_refuses_nothing_that_is_too_large_for_it(tmp_path: Path) -> None:
    box = Box()
    async with postfix(tmp_path, box, message_size_limit="60000") as port:
        line = await courier(port, FakeLog()).open("x.test", "")
        (result,) = await line.send(job(b"Subject: x\r\n\r\n" + b"x\r\n" * 30_000))
        assert (result.kind, result.code, result.enhanced) == ("hard", 552, "5.3.4")
        assert "exceeds the receiving host's limit of 60000" in result.text
        assert line.usable
        await line.close()


async def test_postfix_that_closes_an_idle_connection_is_noticed_before_the_next_message(tmp_path: Path) -> None:
    box, log = Box(), FakeLog()
    async with postfix(tmp_path, box, smtpd_timeout="3s") as port:
        one = courier(port, log)
        line = await one.open("x.test", "")
        assert (await line.send(job(b"Subject: x\r\n\r\nhi\r\n")))[0].kind == "delivered"
        await until(lambda: not line.usable)
        await line.close()
        again = await one.open("x.test", "")
        assert again.dcid == line.dcid + 1
        await again.close()
    assert log.having("Connection Error") == []


async def test_postfix_reports_what_the_sender_asked_for(tmp_path: Path) -> None:
    """RET, ENVID, NOTIFY and ORCPT in Postfix's own words: it bounces what its next hop refuses."""
    box = Box("r1@x.test")
    async with postfix(tmp_path, box) as port:
        line = await courier(port, FakeLog()).open("x.test", "")
        asked = [
            Recipient(0, "r0@x.test", notify="SUCCESS", orcpt="rfc822;first@old.test"),
            Recipient(1, "r1@x.test", notify="FAILURE", original="before@old.test"),
        ]
        results = await line.send(job(b"Subject: x\r\n\r\nsecret body\r\n", *asked, ret="HDRS", envid="Q+2B1"))
        assert {(one.kind, one.dsn) for one in results} == {("delivered", True)}
        await line.close()
        await box.bodies(3)
    reports = b"".join(bytes(one.content or b"") for one in box.kept if one.mail_from in ("", "<>", None))
    assert b"Original-Recipient: rfc822;first@old.test" in reports
    assert b"Original-Recipient: rfc822;before@old.test" in reports
    assert b"Original-Envelope-Id: Q+1" in reports
    assert b"secret body" not in reports


async def test_aiosmtpd_gets_everything_line_by_line() -> None:
    box = Box()
    async with mailbox(box, enable_SMTPUTF8=True) as port:
        line = await courier(port, FakeLog()).open("x.test", "")
        content = "Subject: \u00fc\r\n\r\n.dot\r\n\u00e4\r\n".encode()
        (result,) = await line.send(job(content, Recipient(0, "\u00fc@x.test"), smtputf8=True))
        assert result.kind == "delivered"
        results = await line.send(job(b"A: b\r\n\r\n", *rows(3)))
        assert {one.kind for one in results} == {"delivered"}
        assert not results[0].dsn
        await line.close()
    assert [one.rcpt_tos for one in box.kept] == [["\u00fc@x.test"], [row.address for row in rows(3)]]
    assert box.kept[0].content == content
