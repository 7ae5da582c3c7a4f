"""What comes before the conversation, over real sockets: PROXY, XCLIENT, names, refusals, early talk, slow peers."""
# ruff: noqa: SIM117 (a client within its listener reads better nested)

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import clock
from core.dns import Resolver
from core.maillog import MailLog
from core.reverse import ReverseNames
from core.smtp.door import Brake, Door
from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings, Timeouts
from protocol.proxy import SIGNATURE
from protocol.reply import Reply
from protocol.smtp.conversation import Peer
from protocol.smtp.settings import ServerSettings
from tests.support.certificate import server_context
from tests.support.dns_server import DnsServer
from tests.support.service import running
from tests.support.smtp_session import Recorder, RecordingSession
from tests.support.waiting import until

BLOCK = SIGNATURE + b"\x21\x11\x00\x0c" + bytes([192, 0, 2, 7, 198, 51, 100, 1]) + b"\x9c\x40\x00\x19"
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"


class Guests(Recorder):
    """Remembers who was greeted."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[Peer] = []

    def session(self) -> RecordingSession:
        return Guest(self)


class Guest(RecordingSession):
    def connected(self, peer: Peer) -> Reply:
        self._book.peers.append(peer)  # type: ignore[attr-defined]
        return super().connected(peer)


def listed(host: str) -> bool:
    return host == "127.0.0.1"


@contextlib.asynccontextmanager
async def listening(door: Door, *, log: MailLog | None = None, **options: Any) -> AsyncIterator[tuple[Any, Guests]]:
    options.setdefault("timeouts", Timeouts())
    server = ServerSettings("mx.example.test", starttls=not options.get("implicit_tls"))
    book = Guests()
    settings = ListenerSettings("Inbound", "127.0.0.1", 0, server, **options)
    listener = SmtpListener(settings, book.session, tls=server_context, log=log, door=door)
    async with running(listener), asyncio.timeout(30):
        yield listener, book


@contextlib.asynccontextmanager
async def dialled(listener: SmtpListener, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port, **options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("header", [LINE, BLOCK])
async def test_a_listed_balancer_speaks_for_a_client(header: bytes) -> None:
    async with listening(Door(speaks_proxy=listed)) as (listener, book):
        async with dialled(listener) as (reader, writer):
            writer.write(header[:9])
            await asyncio.sleep(0.01)
            writer.write(header[9:] + b"QUIT\r\n")
            assert (await reader.read()).splitlines()[1].startswith(b"221")
        assert book.peers == [Peer("192.0.2.7", 40000, "198.51.100.1", 25)]


async def test_a_health_check_of_the_balancer_is_a_connection_of_its_own() -> None:
    async with listening(Door(speaks_proxy=listed)) as (listener, book):
        async with dialled(listener) as (reader, writer):
            writer.write(SIGNATURE + b"\x20\x00\x00\x00")
            assert (await reader.readline()).startswith(b"220")
        assert book.peers[0].host == "127.0.0.1"


async def test_a_header_and_the_handshake_behind_it_in_one_segment() -> None:
    """The header must not take octets of the handshake: both mostly come together."""
    async with listening(Door(speaks_proxy=listed), implicit_tls=True) as (listener, book):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting().wrap_bio(incoming, outgoing)
        async with dialled(listener) as (reader, writer):
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            writer.write(BLOCK + outgoing.read())
            while True:
                incoming.write(await reader.read(4096))
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    break
            writer.write(outgoing.read())
            line = b""
            while not line:
                with contextlib.suppress(ssl.SSLWantReadError):
                    line = tls.read(100)
                    break
                incoming.write(await reader.read(4096))
        assert line.startswith(b"220")
        assert (book.peers[0].host, book.events[1]) == ("192.0.2.7", "secured TLSv1.3")


@pytest.mark.parametrize("octets", [b"EHLO client.test\r\n", b"\x16\x03\x01\x02\x00"])
async def test_a_listed_peer_without_a_header_is_closed_and_logged(octets: bytes, tmp_path: Path) -> None:
    log = MailLog(tmp_path / "log")
    async with listening(Door(speaks_proxy=listed), log=log) as (listener, book):
        async with dialled(listener) as (reader, writer):
            writer.write(octets)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert book.peers == []
    log.flush()
    assert "127.0.0.1 not a PROXY header" in (tmp_path / "log").read_text()


async def test_a_header_that_does_not_come_is_not_waited_for() -> None:
    timeouts = Timeouts(handshake_s=0.05)
    async with listening(Door(speaks_proxy=listed), timeouts=timeouts) as (listener, _):
        async with dialled(listener) as (reader, writer):
            writer.write(b"PROXY TC")
            assert await reader.read() == b""


async def test_who_is_not_listed_speaks_for_himself() -> None:
    async with listening(Door(speaks_proxy=lambda host: False)) as (listener, book):
        async with dialled(listener) as (reader, writer):
            assert (await reader.readline()).startswith(b"220")
            writer.write(LINE)
            assert (await reader.readline()).startswith(b"500")
        assert book.peers[0].host == "127.0.0.1"


async def test_connections_on_their_way_in_count_to_the_limit() -> None:
    async with listening(Door(speaks_proxy=listed), max_connections=1) as (listener, _):
        async with dialled(listener), dialled(listener) as (reader, _):
            assert (await reader.read()).startswith(b"421 4.4.5")


async def test_xclient_starts_again_as_somebody_else() -> None:
    async with listening(Door(introduces=listed)) as (listener, book):
        async with dialled(listener) as (reader, writer):
            writer.write(b"EHLO proxy.test\r\n")
            lines = [await reader.readline() for _ in range(2)]
            while lines[-1][3:4] == b"-" or len(lines) < 3:
                lines.append(await reader.readline())
            assert b"250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n" in lines
            writer.write(b"XCLIENT ADDR=192.0.2.7 NAME=mx.client.test HELO=client.test\r\nNOOP\r\n")
            assert (await reader.readline()).startswith(b"220 ")
            assert (await reader.readline()).startswith(b"250 "), "what followed was lost"
            writer.write(b"MAIL FROM:<a@b.test>\r\n")
            assert (await reader.readline()).startswith(b"503"), "an EHLO of before still counted"
        assert [peer.host for peer in book.peers] == ["127.0.0.1", "192.0.2.7"]
        assert (book.peers[1].name, book.peers[1].verified, book.peers[1].helo) == (
            "mx.client.test",
            True,
            "client.test",
        )
        assert "closed: XCLIENT" in book.events
        assert listener.connections <= 1


async def test_xclient_is_for_listed_peers_outside_transactions_and_tls() -> None:
    async with listening(Door()) as (listener, book), dialled(listener) as (reader, writer):
        await reader.readline()
        writer.write(b"HELO c\r\nXCLIENT ADDR=192.0.2.7\r\n")
        assert [(await reader.readline())[:3] for _ in range(2)] == [b"250", b"550"]
        assert len(book.peers) == 1
    async with listening(Door(introduces=listed)) as (listener, book), dialled(listener) as (reader, writer):
        await reader.readline()
        writer.write(b"HELO c\r\nMAIL FROM:<a@b.test>\r\nXCLIENT ADDR=192.0.2.7\r\nXCLIENT\r\n")
        assert [(await reader.readline())[:3] for _ in range(4)] == [b"250", b"250", b"503", b"503"]
        writer.write(b"RSET\r\nXCLIENT ADDR=here\r\n")
        assert [(await reader.readline())[:3] for _ in range(2)] == [b"250", b"501"]
    async with listening(Door(introduces=listed), implicit_tls=True) as (listener, _):
        async with dialled(listener, ssl=trusting()) as (reader, writer):
            await reader.readline()
            writer.write(b"XCLIENT ADDR=192.0.2.7\r\n")
            assert (await reader.readline()).startswith(b"503")


async def test_the_client_of_xclient_is_counted_by_its_own_address() -> None:
    async with listening(Door(introduces=listed), max_per_address=1) as (listener, _):
        async with dialled(listener) as (reader, writer), dialled(listener) as (other, _):
            await reader.readline()
            assert (await other.read()).startswith(b"421 4.4.5")
            writer.write(b"XCLIENT ADDR=192.0.2.7\r\n")
            assert (await reader.readline()).startswith(b"220")
            async with dialled(listener) as (third, again):
                assert (await third.readline()).startswith(b"220")
                again.write(b"XCLIENT ADDR=192.0.2.7\r\n")
                assert (await third.read()).startswith(b"421 4.4.5")


async def test_a_name_is_awaited_before_the_greeting_and_early_talk_waits_with_it() -> None:
    zone = ("1.0.0.127.in-addr.arpa. 300 IN PTR home.test.", "home.test. 300 IN A 127.0.0.1")
    async with DnsServer(*zone) as dns:
        names = ReverseNames(Resolver([dns.address]), timeout_s=5)
        async with listening(Door(names=names)) as (listener, book):
            for _ in range(2):
                async with dialled(listener) as (reader, writer):
                    writer.write(b"HELO c\r\n")
                    assert [(await reader.readline())[:3] for _ in range(2)] == [b"220", b"250"]
            assert [(peer.name, peer.verified) for peer in book.peers] == [("home.test", True)] * 2
            assert len([one for one in dns.asked if one[1] == "PTR"]) == 1


async def test_a_name_that_nobody_gives_does_not_hold_others_up() -> None:
    async with DnsServer(rules={("1.0.0.127.in-addr.arpa", "PTR"): "silent"}) as dns:
        names = ReverseNames(Resolver([dns.address]), timeout_s=0.05)
        async with listening(Door(names=names)) as (listener, book):
            async with dialled(listener) as (reader, _):
                assert (await reader.readline()).startswith(b"220")
            assert book.peers[0].name == ""


@pytest.mark.parametrize("options", [{}, {"implicit_tls": True}])
async def test_a_refused_peer_gets_a_reset_and_not_a_word(options: dict[str, Any]) -> None:
    async with listening(Door(refuses=lambda peer: peer.host == "127.0.0.1"), **options) as (listener, book):
        async with dialled(listener) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert book.peers == []
        await until(lambda: not listener.connections)


async def test_who_talks_before_a_late_greeting_is_refused_or_waited_for() -> None:
    late = Timeouts(greet_delay_s=30)
    async with listening(Door(reject_early_talk=True), timeouts=late) as (listener, _):
        async with dialled(listener) as (reader, writer):
            writer.write(b"EHLO eager.test\r\n")
            assert (await reader.read()).startswith(b"554 5.5.1")
    async with listening(Door(), timeouts=late) as (listener, _), dialled(listener) as (reader, writer):
        writer.write(b"HELO eager.test\r\n")
        await until(lambda: listener.connections)
        now = clock.monotonic()
        listener.sweep(now)
        listener.sweep(now + 31)
        assert [(await reader.readline())[:3] for _ in range(2)] == [b"220", b"250"]


async def test_a_brake_delays_greetings_and_refuses_at_the_end() -> None:
    brake = Brake()
    async with listening(Door(brake=brake)) as (listener, book):
        brake.delay_s = 20
        async with dialled(listener) as (reader, _):
            await until(lambda: listener.connections)
            now = clock.monotonic()
            listener.sweep(now)
            assert book.peers == []
            listener.sweep(now + 21)
            assert (await reader.readline()).startswith(b"220")
        brake.refusing = True
        async with dialled(listener) as (reader, _):
            assert (await reader.read()).startswith(b"421 4.3.1")
        assert len(book.peers) == 1


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_implicit_tls_takes_a_client_that_leaves_with_or_without_close_notify(says_goodbye: bool) -> None:
    def leave(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=3) as raw:
            tls = trusting().wrap_socket(raw)
            greeting = tls.recv(100)
            if says_goodbye:
                with contextlib.suppress(OSError):
                    tls.unwrap()
            tls.close()
            return greeting

    async with listening(Door(), implicit_tls=True) as (listener, book):
        assert (await asyncio.to_thread(leave, listener.port)).startswith(b"220")
        await until(lambda: not listener.connections)
        assert book.events[-1] == "closed: closed by the peer"


SLOW = (
    ("greeting", b"EH", Timeouts(greeting_s=30, command_s=300)),
    ("command", b"HELO c\r\nNOO", Timeouts(greeting_s=300, command_s=30)),
    ("content", b"HELO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\nx", Timeouts(data_block_s=30)),
)


@pytest.mark.parametrize(("octets", "timeouts"), [one[1:] for one in SLOW], ids=[one[0] for one in SLOW])
async def test_an_octet_now_and_then_gains_no_time(octets: bytes, timeouts: Timeouts) -> None:
    async with listening(Door(), timeouts=timeouts) as (listener, _):
        async with dialled(listener) as (reader, writer), dialled(listener) as (other, talker):
            await reader.readline()
            await other.readline()
            writer.write(octets)
            for _ in range(octets.count(b"\r\n")):
                await reader.readline()
            now = clock.monotonic()
            for second in range(0, 40, 5):
                writer.write(b"x")
                talker.write(b"HELO lively.test\r\n")
                assert (await other.readline()).startswith(b"250")
                listener.sweep(now + second)
            assert (await reader.read()).startswith(b"421 4.4.2")
            talker.write(b"NOOP\r\n")
            assert (await other.readline()).startswith(b"250"), "the others were affected"


async def test_a_handshake_in_single_octets_ends_with_its_time() -> None:
    async with listening(Door(), implicit_tls=True, timeouts=Timeouts(handshake_s=0.1)) as (listener, book):
        async with dialled(listener) as (reader, writer):
            for octet in b"\x16\x03\x01":
                writer.write(bytes([octet]))
                await asyncio.sleep(0.02)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        assert book.peers == []
    async with listening(Door(), timeouts=Timeouts(handshake_s=0.1)) as (listener, book):
        async with dialled(listener) as (reader, writer):
            await reader.readline()
            writer.write(b"EHLO c\r\nSTARTTLS\r\n")
            while not (await reader.readline()).startswith(b"220"):
                pass
            writer.write(b"\x16\x03")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        await until(lambda: not listener.connections)


async def test_a_flood_is_one_line_in_the_log(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "log")
    async with listening(Door(), log=log, max_per_address=1) as (listener, book):
        async with dialled(listener) as (first, _):
            await first.readline()
            for _ in range(3):
                async with dialled(listener) as (reader, _):
                    assert (await reader.read()).startswith(b"421 4.4.5")
            listener.sweep(clock.monotonic())
            listener.sweep(clock.monotonic())
        assert len(book.peers) == 1, "a session was made for who is refused"
    log.flush()
    assert (tmp_path / "log").read_text().count("SMTP Inbound: 3 connections refused with 421") == 1
