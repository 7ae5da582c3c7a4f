"""Handlers written for aiosmtpd, unchanged, behind our listener: alone and in front of another session."""

import asyncio
import contextlib
import email
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiosmtplib
import pytest
from aiosmtpd.handlers import Mailbox, Sink

from core.aiosmtpd_handler import CONSULTED, handler_sessions
from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings
from protocol.reply import Reply
from protocol.smtp.conversation import Challenge
from protocol.smtp.settings import ServerSettings
from tests.support.service import running
from tests.support.smtp_session import Recorder

HOST = "mx.example.test"
MESSAGE = "Subject: hello\r\n\r\ntext\r\n.dot\r\n"


class Chatty:
    """A handler with every hook, async as aiosmtpd's documentation shows them."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.content: list[bytes] = []

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        self.heard.append(f"EHLO {hostname} {session.peer[0]}")
        session.host_name = hostname
        return ["550 not you"] if hostname == "bad.test" else responses

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        envelope.mail_from = address
        self.heard.append(f"MAIL {address} {mail_options}")
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        await asyncio.sleep(0)
        if address.startswith("no@"):
            return "550 no such user"
        if address.startswith("raise@"):
            raise RuntimeError("secret detail")
        if address.startswith("none@"):
            return None
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.heard.append(f"DATA {envelope.mail_from} {envelope.rcpt_tos} {session.host_name} {server.hostname}")
        self.content.append(envelope.content)
        return "554 not this" if b"refuse" in envelope.content else "250 Message accepted for delivery"

    async def handle_NOOP(self, server, session, envelope, arg):
        self.heard.append(f"NOOP {arg}")
        return "250 still here"

    async def handle_VRFY(self, server, session, envelope, address):
        return f"252 {address}?"

    async def handle_RSET(self, server, session, envelope):
        self.heard.append("RSET")
        return "250 reset"

    async def handle_QUIT(self, server, session, envelope):
        self.heard.append("QUIT")
        return "221 so long"


class Plain:
    """A handler whose hooks are not async."""

    def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        envelope.rcpt_tos.append(address)
        return "250 OK"

    def process_message(self, peer, mailfrom, rcpttos, data):
        self.seen = (mailfrom, rcpttos, data)


@contextlib.asynccontextmanager
async def dialogue(handler: Any, **options: Any) -> AsyncIterator[aiosmtplib.SMTP]:
    settings = ListenerSettings("test", "127.0.0.1", 0, ServerSettings(HOST, consulted_verbs=CONSULTED))
    listener = SmtpListener(settings, handler_sessions(handler, HOST, **options))
    async with running(listener), asyncio.timeout(20):
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1", port=listener.port, local_hostname="client.test", start_tls=False
        )
        await client.connect()
        try:
            yield client
        finally:
            with contextlib.suppress(aiosmtplib.SMTPServerDisconnected):
                await client.quit()


async def test_every_hook_is_called_with_aiosmtpds_arguments():
    handler = Chatty()
    async with dialogue(handler) as client:
        await client.sendmail("a@client.test", ["b@example.test", "c@example.test"], MESSAGE)
        assert (await client.noop()).message == "still here"
        assert (await client.execute_command(b"VRFY", b"joe")).message == "joe?"
        assert (await client.rset()).message == "reset"
    assert handler.content == [MESSAGE.encode()]
    assert handler.heard == [
        "EHLO client.test 127.0.0.1",
        f"MAIL a@client.test ['SIZE={len(MESSAGE)}']",
        f"DATA a@client.test ['b@example.test', 'c@example.test'] client.test {HOST}",
        "NOOP ",
        "RSET",
        "QUIT",
    ]


async def test_the_handlers_refusals_are_the_replies():
    async with dialogue(Chatty()) as client:
        assert (await client.execute_command(b"EHLO", b"bad.test")).code == 550
        await client.ehlo()
        await client.mail("a@client.test")
        with pytest.raises(aiosmtplib.SMTPRecipientRefused, match="no such user"):
            await client.rcpt("no@example.test")
        await client.rcpt("b@example.test")
        with pytest.raises(aiosmtplib.SMTPDataError, match="not this"):
            await client.data(b"refuse\r\n")


@pytest.mark.parametrize("name", ["raise", "none"])
async def test_a_failing_hook_is_451_without_its_text(name, capfd):
    async with dialogue(Chatty()) as client:
        await client.ehlo()
        await client.mail("a@client.test")
        with pytest.raises(aiosmtplib.SMTPRecipientRefused) as caught:
            await client.rcpt(f"{name}@example.test")
        assert caught.value.code == 451
        assert "secret" not in caught.value.message
        assert (await client.noop()).code == 250
    assert "incident" in capfd.readouterr().err


async def test_plain_methods_and_old_handlers_work():
    handler = Plain()
    async with dialogue(handler) as client:
        await client.sendmail("", ["b@example.test"], MESSAGE)
    assert handler.seen == ("<>", ["b@example.test"], MESSAGE.encode())


async def test_aiosmtpds_own_handlers_work(tmp_path):
    async with dialogue(Sink()) as client:
        await client.sendmail("a@client.test", ["b@example.test"], MESSAGE)
    async with dialogue(Mailbox(tmp_path / "mail")) as client:
        await client.sendmail("a@client.test", ["b@example.test"], MESSAGE)
    (stored,) = (tmp_path / "mail" / "new").iterdir()
    kept = email.message_from_bytes(stored.read_bytes())
    assert (kept["Subject"], kept["X-MailFrom"]) == ("hello", "a@client.test")


async def test_content_over_the_cap_is_552():
    handler = Chatty()
    async with dialogue(handler, cap=50) as client:
        await client.ehlo()
        with pytest.raises(aiosmtplib.SMTPResponseException) as caught:
            await client.sendmail("a@client.test", ["b@example.test"], "x" * 100)
        assert caught.value.code == 552
        await client.rset()
        await client.mail("a@client.test")
        await client.rcpt("b@example.test")
        with pytest.raises(aiosmtplib.SMTPDataError) as caught:
            await client.data(b"x" * 100)
        assert caught.value.code == 552
    assert handler.content == []


async def test_the_handler_decides_first_and_the_inner_session_answers():
    handler, book = Chatty(), Recorder()
    async with dialogue(handler, inner=book.session) as client:
        with pytest.raises(aiosmtplib.SMTPDataError, match="not this"):
            await client.sendmail("a@client.test", ["b@example.test"], "refuse\r\n")
        assert book.messages == []
        assert book.sinks[0].discarded
        errors, reply = await client.sendmail("a@client.test", ["b@example.test", "550-x@example.test"], MESSAGE)
        assert list(errors) == ["550-x@example.test"]
        assert "Message 1 accepted" in reply
    assert book.messages == [MESSAGE.encode()]
    assert book.envelopes == [("a@client.test", ["b@example.test"])]
    assert "['b@example.test'] client.test" in handler.heard[-2]


async def test_log_in_is_the_inner_sessions():
    book = Recorder()
    made = handler_sessions(Plain(), HOST, inner=book.session)()
    assert made.withheld == frozenset()
    assert made.login("LOGIN", b"user") == Challenge(b"Password:")
    later = made.login_response(b"pencil")
    answers: list[Reply] = []
    later.attach(answers.append)
    assert [reply.code for reply in answers] == [235]
    assert book.events == ["login LOGIN"]


async def test_a_peer_that_leaves_while_the_handler_thinks_leaves_nothing():
    entered, leave = asyncio.Event(), asyncio.Event()

    class Slow:
        async def handle_DATA(self, server, session, envelope):
            entered.set()
            await leave.wait()
            return "250 OK"

    book = Recorder()
    settings = ListenerSettings("test", "127.0.0.1", 0, ServerSettings(HOST))
    listener = SmtpListener(settings, handler_sessions(Slow(), HOST, inner=book.session))
    async with running(listener), asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"HELO c\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@c.test>\r\nDATA\r\nx\r\n.\r\n")
        await entered.wait()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        writer.transport.abort()
        while listener.connections:
            await asyncio.sleep(0)
        leave.set()
        await asyncio.sleep(0)
    assert book.messages == []
    assert book.sinks[0].discarded
    assert book.events[-1].startswith("closed")
