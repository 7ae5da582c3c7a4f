"""Connections over real sockets: aiosmtpd as an honest peer, a scripted server for all others."""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from core.pki import certificate_der, make_cpq_certificate, make_server_certificate
from core.smtp import client_wire
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings, Timeouts, TlsSettings
from core.smtp.target import Target
from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.failure import (
    ConnectError,
    LocalError,
    Party,
    PeerClosed,
    ProtocolError,
    Refused,
    Stage,
    TimedOut,
    TlsError,
)
from protocol.smtp.transaction import Transaction
from tests.support.scripted_server import Peer, ScriptedServer

SETTINGS = ConnectionSettings(ClientSettings("client.test"))


def at(port: int) -> Target:
    return Target("mx.test", "127.0.0.1", port)


def mail(content: bytes = b"Subject: x\r\n\r\n.dot\r\n", *recipients: str) -> Transaction:
    return Transaction("a@x.test", recipients or ("b@y.test",), [content], size=len(content))


class Box:
    """An aiosmtpd handler that keeps what it gets and refuses `no@y.test`."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[str], bytes]] = []

    async def handle_RCPT(  # aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address == "no@y.test":
            return "550 5.1.1 nobody"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.messages.append((envelope.mail_from or "", list(envelope.rcpt_tos), envelope.content))
        return f"250 2.0.0 kept {len(self.messages)}"


@asynccontextmanager
async def mailbox(box: Box, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Run aiosmtpd on an ephemeral port."""
    loop = asyncio.get_running_loop()
    options = {"hostname": "mx.test", "tls_context": context, "enable_SMTPUTF8": True}
    server = await loop.create_server(lambda: SMTP(box, loop=loop, **options), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def quit_from(connection: ClientConnection) -> None:
    connection.close()
    await connection.wait_closed()


async def test_an_honest_peer_gets_messages_one_after_the_other() -> None:
    box = Box()
    async with mailbox(box) as port:
        connection = await connect(at(port), SETTINGS)
        first = await connection.send(mail(b"Subject: 1\r\n\r\n.dot\r\n..\r\n", "b@y.test", "no@y.test"))
        assert connection.usable
        second = await connection.send(mail(b"Subject: 2\r\n\r\n\xe9"))
        await quit_from(connection)
    assert [reply.code for reply in first.replies if reply] == [250, 550]
    assert first.replies[1] is not None
    assert first.replies[1].text == "nobody"
    assert second.delivered == [0]
    assert [message[1:] for message in box.messages] == [
        (["b@y.test"], b"Subject: 1\r\n\r\n.dot\r\n..\r\n"),
        (["b@y.test"], b"Subject: 2\r\n\r\n\xe9\r\n"),
    ]
    assert not connection.usable


async def test_large_content_is_streamed_with_back_pressure() -> None:
    taken = 0
    most_ahead = 0

    def content() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(400):
            taken += 65_536
            yield b"x" * 65_534 + b"\r\n"

    async def slow(peer: Peer) -> None:
        nonlocal most_ahead
        await peer.opening("PIPELINING")
        await peer.hear("MAIL", "RCPT", "DATA")
        await peer.say("250 Ok", "250 Ok", "354 go")
        for number in range(400):
            await peer.octets(65_536)
            most_ahead = max(most_ahead, taken - number * 65_536)
        assert await peer.content() == b".\r\n"
        await peer.say("250 Ok")
        await peer.hear("QUIT")
        await peer.say("221 bye")

    async with ScriptedServer(slow) as server:
        connection = await connect(at(server.port), SETTINGS)
        result = await connection.send(Transaction("a@x.test", ["b@y.test"], content()))
        await quit_from(connection)
    assert result.delivered == [0]
    assert taken == 400 * 65_536
    assert most_ahead < 16 * 1024 * 1024


async def test_two_messages_overlap_and_keep_their_results() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.accept(final="")
        await peer.hear("MAIL", "RCPT", "DATA")
        await peer.say("550 5.7.1 no", "250 Ok", "250 Ok", "354 go")
        await peer.content()
        await peer.say("250 yes")

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), SETTINGS)
        first, second = connection.submit(mail()), connection.submit(mail())
        assert (await first).replies[0].code == 550  # type: ignore[union-attr]
        assert (await second).delivered == [0]
        connection.abort()


async def test_replies_before_their_commands_end_the_connection() -> None:
    async def eager(peer: Peer) -> None:
        await peer.say("220 mx.test", "250-mx.test", "250 PIPELINING")
        await peer.end()

    async with ScriptedServer(eager) as server:
        with pytest.raises(ProtocolError):
            async with asyncio.timeout(30):
                await connect(at(server.port), SETTINGS)


async def test_a_refused_port_is_the_networks_fault() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectError, match=r"\[Errno 111\] Connection refused") as caught:
        await connect(at(port), SETTINGS)
    assert (caught.value.party, caught.value.stage) == (Party.NETWORK, Stage.CONNECT)
    assert caught.value.reply.code == 451


async def test_a_host_that_does_not_answer_costs_little_time() -> None:
    """With its backlog full a socket ignores further connections, as a dead host does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        address = deaf.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(address)
            settings = ConnectionSettings(SETTINGS.client, Timeouts(connect_s=0.1))
            with pytest.raises(ConnectError, match=r"timeout: no connection within 0\.1 seconds"):
                await connect(at(address[1]), settings)
        finally:
            for one in waiting:
                one.close()


async def test_the_source_address_can_be_chosen() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.end()

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), ConnectionSettings(SETTINGS.client, source_address="127.0.0.77"))
        assert connection.local_address == "127.0.0.77"
        connection.abort()


async def test_a_refused_greeting_is_told_with_its_reply() -> None:
    async def script(peer: Peer) -> None:
        await peer.say("554 5.7.1 no service")
        await peer.end()

    async with ScriptedServer(script) as server:
        with pytest.raises(Refused) as caught:
            await connect(at(server.port), SETTINGS)
    assert caught.value.text == "answered 554 5.7.1 no service"


SHORT = Timeouts(greeting_s=0.05, hello_s=0.05, envelope_s=0.05, data_s=0.05, content_s=0.05, final_s=0.05, quit_s=0.05)


async def test_a_silent_peer_is_left_at_the_greeting() -> None:
    async def script(peer: Peer) -> None:
        await peer.end()

    async with ScriptedServer(script) as server:
        with pytest.raises(TimedOut) as caught:
            await connect(at(server.port), ConnectionSettings(SETTINGS.client, SHORT))
    assert caught.value.stage is Stage.GREETING


@pytest.mark.parametrize(("answers", "stage"), [(0, Stage.MAIL), (1, Stage.RCPT), (2, Stage.DATA), (3, Stage.FINAL)])
async def test_a_peer_that_falls_silent_is_left_at_every_stage(answers: int, stage: Stage) -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.hear("MAIL", "RCPT", "DATA")
        if answers:
            await peer.say(*["250 Ok", "250 Ok", "354 go"][:answers])
        await peer.end()

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), ConnectionSettings(SETTINGS.client, SHORT))
        result = await connection.send(mail())
    assert isinstance(result.error, TimedOut)
    assert (result.error.stage, result.failed_stage) == (stage, stage)
    assert result.maybe_delivered is (stage is Stage.FINAL)
    assert not connection.usable


async def test_content_that_a_peer_does_not_take_times_out() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.hear("MAIL", "RCPT", "DATA")
        await peer.say("250 Ok", "250 Ok", "354 go")
        await asyncio.Event().wait()

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), ConnectionSettings(SETTINGS.client, SHORT))
        endless = (b"x" * 65_534 + b"\r\n" for _ in range(2_000))
        result = await connection.send(Transaction("a@x.test", ["b@y.test"], endless))
        assert isinstance(result.error, TimedOut)
        assert result.failed_stage is Stage.CONTENT
        assert not result.maybe_delivered


@pytest.mark.parametrize("rude", [True, False])
async def test_a_connection_lost_after_the_content_says_so(rude: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.accept(final="")
        if rude:
            peer.reset()

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), SETTINGS)
        result = await connection.send(mail())
    assert isinstance(result.error, PeerClosed)
    assert result.maybe_delivered


async def test_an_idle_connection_that_was_closed_is_not_used_again() -> None:
    """The close is in the socket but the loop has not read it yet."""

    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.accept()

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), SETTINGS)
        assert (await connection.send(mail())).delivered == [0]
        await connection.wait_closed()
        assert not connection.usable
        assert (await connection.send(mail())).failed_stage is Stage.IDLE


async def test_a_close_that_the_loop_has_not_seen_yet_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    loop = asyncio.get_running_loop()

    async def serve() -> socket.socket:
        peer, _ = await loop.sock_accept(listening)
        await loop.sock_sendall(peer, b"220 mx.test\r\n")
        await loop.sock_recv(peer, 1000)
        await loop.sock_sendall(peer, b"250 mx.test\r\n")
        return peer

    with listening:
        connection, peer = await asyncio.gather(connect(at(listening.getsockname()[1]), SETTINGS), serve())
        assert connection.usable
        monkeypatch.setattr(client_wire, "_TRUST_IDLE_S", 0.0)
        assert connection.usable
        peer.close()
        assert not connection.usable
        connection.abort()


async def test_a_command_is_answered_with_its_payload_taken() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("XCPQ")
        await peer.hear("XCPQ META 8")
        assert await peer.octets(8) == b"\r\n.\r\n\0\xff!"
        await peer.say("250 2.0.0 taken")
        await peer.end()

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), SETTINGS)
        assert "XCPQ" in connection.offers
        reply = await connection.command("XCPQ META 8", b"\r\n.\r\n\0\xff!")
        assert reply.text == "taken"
        connection.abort()
        with pytest.raises(LocalError):
            await connection.command("XCPQ META 0")


async def test_a_cancelled_message_ends_the_connection_without_a_final_dot() -> None:
    started = asyncio.Event()
    rest: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.hear("MAIL", "RCPT", "DATA")
        started.set()
        rest.append(await peer.end())

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), SETTINGS)
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(connection.send(mail()))
            await started.wait()
            sending.cancel()
        await connection.wait_closed()
        assert not connection.usable
    assert rest in ([], [b""])


async def test_quit_does_not_wait_for_ever() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.hear("QUIT")
        await peer.end()

    async with ScriptedServer(script) as server:
        connection = await connect(at(server.port), ConnectionSettings(SETTINGS.client, SHORT))
        async with asyncio.timeout(30):
            await quit_from(connection)


# TLS


def server_context(tmp_path: Path, key: bytes, certificate: bytes, clients: bytes | None = None) -> ssl.SSLContext:
    (tmp_path / "key").write_bytes(key)
    (tmp_path / "crt").write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.decode())
    return context


def speaks_tls(context: ssl.SSLContext) -> "object":
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING", "STARTTLS")
        await peer.hear("STARTTLS")
        await peer.say("220 go")
        await peer.start_tls(context)
        await peer.hear("EHLO")
        await peer.say("250-mx.test", "250 PIPELINING")
        await peer.accept()
        await peer.end()

    return script


async def test_starttls_with_any_certificate(tmp_path: Path) -> None:
    key, certificate = make_server_certificate("other.test")
    async with ScriptedServer(speaks_tls(server_context(tmp_path, key, certificate))) as server:  # type: ignore[arg-type]
        connection = await connect(at(server.port), SETTINGS, TlsSettings(TlsUse.OFFERED))
        assert connection.tls is not None
        assert connection.tls.version in ("TLSv1.2", "TLSv1.3")
        assert connection.tls.cipher
        assert connection.tls.peer_certificate_der == certificate_der(certificate)
        assert "STARTTLS" not in connection.offers
        assert (await connection.send(mail())).delivered == [0]
        connection.abort()


async def test_starttls_with_aiosmtpd(tmp_path: Path) -> None:
    box = Box()
    async with mailbox(box, server_context(tmp_path, *make_server_certificate("mx.test"))) as port:
        connection = await connect(at(port), SETTINGS, TlsSettings(TlsUse.REQUIRED))
        assert connection.tls is not None
        assert (await connection.send(mail())).delivered == [0]
        await quit_from(connection)
    assert len(box.messages) == 1


@pytest.mark.parametrize("right", [True, False])
async def test_a_pinned_certificate_is_the_only_one(tmp_path: Path, right: bool) -> None:
    key, certificate = make_server_certificate("mx.test")
    pinned = certificate if right else make_server_certificate("mx.test")[1]
    digest = hashlib.sha256(certificate_der(pinned)).digest()
    tls = TlsSettings(TlsUse.OFFERED, fingerprints=frozenset([digest]))
    async with ScriptedServer(speaks_tls(server_context(tmp_path, key, certificate))) as server:  # type: ignore[arg-type]
        if right:
            connection = await connect(at(server.port), SETTINGS, tls)
            assert (await connection.send(mail())).delivered == [0]
            connection.abort()
        else:
            with pytest.raises(TlsError, match="not the pinned one"):
                await connect(at(server.port), SETTINGS, tls)
            assert server.connections == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_refused_client_certificate_is_told_as_such(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """With TLS 1.3 the handshake succeeds for us before the peer has judged our certificate."""
    trusted, stranger = make_cpq_certificate("A"), make_cpq_certificate("B")
    context = server_context(tmp_path, *trusted, clients=trusted[1])
    context.minimum_version = context.maximum_version = version
    (tmp_path / "client").write_bytes(stranger[0] + stranger[1])
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname = False
    ours.verify_mode = ssl.CERT_NONE
    ours.load_cert_chain(tmp_path / "client")
    async with ScriptedServer(speaks_tls(context)) as server:  # type: ignore[arg-type]
        with pytest.raises(TlsError) as caught:
            await connect(at(server.port), SETTINGS, TlsSettings(TlsUse.REQUIRED, ours))
    if version is ssl.TLSVersion.TLSv1_3:
        assert "refused our certificate" in caught.value.text
    assert caught.value.stage is Stage.TLS


async def test_an_untrusted_certificate_is_refused_when_verified(tmp_path: Path) -> None:
    context = server_context(tmp_path, *make_server_certificate("mx.test"))
    async with ScriptedServer(speaks_tls(context)) as server:  # type: ignore[arg-type]
        with pytest.raises(TlsError, match="certificate"):
            await connect(at(server.port), SETTINGS, TlsSettings(TlsUse.REQUIRED, ssl.create_default_context()))


async def test_opportunistic_tls_that_fails_is_followed_by_a_connection_in_the_clear() -> None:
    async def broken(peer: Peer) -> None:
        await peer.opening("PIPELINING", "STARTTLS")
        await peer.hear("STARTTLS")
        await peer.say("220 go")
        await peer.octets(1)
        await peer.send(b"this is not TLS\r\n")

    async def plain(peer: Peer) -> None:
        await peer.opening("PIPELINING", "STARTTLS")
        await peer.accept()

    async with ScriptedServer(broken, plain) as server:
        connection = await connect(at(server.port), SETTINGS, TlsSettings(TlsUse.OFFERED))
        assert connection.tls is None
        assert connection.tls_error is not None
        assert (await connection.send(mail())).delivered == [0]
        connection.abort()


async def test_a_reply_injected_behind_starttls_ends_the_connection() -> None:
    async def attacked(peer: Peer) -> None:
        await peer.opening("STARTTLS")
        await peer.hear("STARTTLS")
        await peer.say("220 go", "250-fake", "250 PIPELINING")
        assert await peer.end() == b""

    async with ScriptedServer(attacked) as server:
        with pytest.raises(ProtocolError) as caught:
            await connect(at(server.port), SETTINGS, TlsSettings(TlsUse.OFFERED))
        assert server.connections == 1
    assert caught.value.party is Party.PEER


async def test_implicit_tls(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING", "STARTTLS")
        await peer.accept()
        await peer.end()

    context = server_context(tmp_path, *make_server_certificate("mx.test"))
    async with ScriptedServer(script, context=context) as server:
        tls = TlsSettings(TlsUse.REQUIRED, implicit=True)
        connection = await connect(at(server.port), SETTINGS, tls)
        assert connection.tls is not None
        assert (await connection.send(mail())).delivered == [0]
        connection.abort()
