"""The listener over real sockets: limits, suspension, TLS, back-pressure, stopping."""

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core import clock
from core.errors import EX_UNAVAILABLE, GatepostError
from core.maillog import MailLog
from core.smtp.door import Door
from core.smtp.listener import SmtpListener
from core.smtp.port import SteppedPort
from core.smtp.settings import ListenerSettings, Timeouts
from protocol.reply import Reply
from protocol.smtp.settings import ServerSettings
from tests.support.certificate import server_context
from tests.support.service import running
from tests.support.smtp_session import Octets, Recorder
from tests.support.waiting import until

HOST = "mx.example.test"
ENVELOPE = b"HELO c\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\n"


class Log:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class Client:
    """One connection to the listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, octets: bytes, replies: int = 1) -> list[int]:
        self.writer.write(octets)
        return [await self.hear() for _ in range(replies)]

    async def hear(self) -> int:
        line = await self.reader.readline()
        return int(line[:3]) if line else 0


class House:
    """A running listener and the way to it."""

    def __init__(self, listener: SmtpListener) -> None:
        self.listener = listener
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.listener.port, limit=1 << 22))
        self._clients.append(client)
        return client

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition)

    def leave(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()


@contextlib.asynccontextmanager
async def door(
    book: Recorder | None = None, *, server: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[House]:
    tls, log = options.pop("tls", server_context), options.pop("log", None)
    entrance = options.pop("entrance", Door())
    options.setdefault("timeouts", Timeouts())
    settings = ListenerSettings("Inbound", "127.0.0.1", 0, ServerSettings(HOST, **(server or {})), **options)
    listener = SmtpListener(settings, (book or Recorder()).session, tls=tls, log=log, door=entrance)
    async with running(listener), asyncio.timeout(20):
        made = House(listener)
        yield made
        made.leave()


async def test_connections_are_limited_in_all_and_the_slot_comes_back():
    async with door(max_connections=2) as inbound:
        first, second, third = [await inbound.connect() for _ in range(3)]
        assert [await first.hear(), await second.hear()] == [220, 220]
        assert await third.reader.read() == b"421 4.4.5 #4.4.5 Too many connections to this host.\r\n"
        assert inbound.listener.connections == 2
        await first.say(b"QUIT\r\n")
        await inbound.until(lambda: inbound.listener.connections == 1)
        assert await (await inbound.connect()).hear() == 220


async def test_connections_are_limited_per_address():
    async with door(max_per_address=1) as inbound:
        assert await (await inbound.connect()).hear() == 220
        assert b"from your host" in await (await inbound.connect()).reader.read()


async def test_a_suspended_listener_has_no_port_and_ends_connections_after_the_delay():
    async with door() as inbound:
        client = await inbound.connect()
        await client.hear()
        listener = inbound.listener
        listener.suspend(delay_s=1000)
        assert listener.suspended
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await inbound.connect()
        assert await client.say(b"NOOP\r\n") == [250]
        listener.sweep(clock.monotonic() + 1001)
        assert await client.hear() == 421
        assert await client.reader.read() == b""
        await listener.resume()
        assert await (await inbound.connect()).hear() == 220


async def test_a_taken_address_is_named_with_its_status():
    async with door() as inbound:
        settings = ListenerSettings("Second", "127.0.0.1", inbound.listener.port, ServerSettings(HOST))
        with pytest.raises(ExceptionGroup) as caught:
            async with running(SmtpListener(settings, Recorder().session)):
                pass
        (error,) = [e for e in _leaves(caught.value) if isinstance(e, GatepostError)]
        assert error.status == EX_UNAVAILABLE
        assert f"Second: cannot listen on 127.0.0.1:{inbound.listener.port}" in error.text


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


async def test_processes_share_a_port():
    async with door(reuse_port=True) as one:
        settings = ListenerSettings("Two", "127.0.0.1", one.listener.port, ServerSettings(HOST), reuse_port=True)
        async with running(SmtpListener(settings, Recorder().session)):
            assert await (await one.connect()).hear() == 220


async def test_stopping_tells_idle_peers_at_once_and_lets_a_message_finish():
    acts: list[Callable[[], None]] = []
    book = Recorder(defer=acts.append)
    async with asyncio.timeout(20):
        settings = ListenerSettings("Inbound", "127.0.0.1", 0, ServerSettings(HOST))
        listener = SmtpListener(settings, book.session)
        async with running(listener) as signals:
            inbound = House(listener)
            idle, busy = await inbound.connect(), await inbound.connect()
            await idle.hear()
            await busy.hear()
            assert await busy.say(ENVELOPE + b"DATA\r\n", 4) == [250, 250, 250, 354]
            signals.stopping.set()
            assert await idle.hear() == 421
            await busy.say(b"x\r\n.\r\n", 0)
            await inbound.until(lambda: bool(acts))
            acts[0]()
            assert await busy.hear() == 250
            assert await busy.hear() == 421
            assert await busy.reader.read() == b""
            inbound.leave()
    assert book.messages == [b"x\r\n"]


async def test_a_time_out_is_said_before_the_end():
    async with door(timeouts=Timeouts(command_s=30)) as inbound:
        client = await inbound.connect()
        await client.hear()
        await client.say(b"NOOP\r\n")
        now = clock.monotonic()
        inbound.listener.sweep(now)
        inbound.listener.sweep(now + 30)
        assert (await client.reader.read()).startswith(b"421 4.4.2 ")


async def test_a_greeting_that_waits_catches_who_talks_first():
    async with door(timeouts=Timeouts(greet_delay_s=5), entrance=Door(reject_early_talk=True)) as inbound:
        polite, rude = await inbound.connect(), await inbound.connect()
        assert await rude.say(b"EHLO x\r\n") == [554]
        now = clock.monotonic()
        inbound.listener.sweep(now)
        inbound.listener.sweep(now + 5)
        assert await polite.hear() == 220


async def test_injection_behind_starttls_is_logged():
    log, book = Log(), Recorder()
    async with door(book, server={"starttls": True}, log=log) as inbound:
        client = await inbound.connect()
        await client.hear()
        client.writer.write(b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<x@c.test>\r\n")
        assert (await client.reader.read()).endswith(b"220 2.0.0 Ready to start TLS\r\n")
    assert "injection" in log.warnings[0]
    assert book.parameters == []


async def test_a_handshake_that_fails_ends_the_connection():
    book = Recorder()
    async with door(book, server={"starttls": True}) as inbound:
        client = await inbound.connect()
        await client.hear()
        assert await client.say(b"HELO c\r\nSTARTTLS\r\n", 2) == [250, 220]
        client.writer.write(b"this is no handshake\r\n" * 10)
        with contextlib.suppress(ConnectionResetError):
            await client.reader.read()
        await inbound.until(lambda: not inbound.listener.connections)
    assert book.events[-1].startswith("closed: TLS handshake failed")


async def test_a_listener_without_a_certificate_drops_the_handshake():
    book = Recorder()
    async with door(book, server={"starttls": True}, tls=None) as inbound:
        client = await inbound.connect()
        await client.hear()
        await client.say(b"HELO c\r\nSTARTTLS\r\n", 2)
        await inbound.until(lambda: not inbound.listener.connections)
    assert book.events[-1] == "closed: TLS handshake failed: no certificate is configured"


async def test_implicit_tls_greets_behind_the_handshake():
    book = Recorder()
    async with door(book, implicit_tls=True) as inbound:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.listener.port, ssl=context)
        assert (await reader.readline()).startswith(b"220 ")
        writer.write(b"QUIT\r\n")
        assert (await reader.readline()).startswith(b"221 ")
        writer.close()
    assert book.events[:2] == ["connected", "secured TLSv1.3"]


async def test_a_failing_factory_is_421(capfd):
    def broken() -> Any:
        raise RuntimeError("secret detail")

    listener = SmtpListener(ListenerSettings("Inbound", "127.0.0.1", 0, ServerSettings(HOST)), broken)
    async with running(listener), asyncio.timeout(20):
        inbound = House(listener)
        said = await (await inbound.connect()).reader.read()
        inbound.leave()
        assert said.startswith(b"421 4.3.0 Internal error, incident ")
        assert listener.connections == 0
    assert "secret" in capfd.readouterr().err


async def test_a_peer_that_does_not_read_is_not_read():
    async with door(server={"junk_limit": 0}) as inbound:
        client = await inbound.connect()
        await client.hear()
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while sent < 64 << 20:
                    client.writer.write(b"NOOP\r\n" * 10_000)
                    sent += 60_000
                    await client.writer.drain()
        assert sent < 64 << 20
        (connection,) = inbound.listener._admission.connections
        assert not connection.reading
        assert connection.machine.held < 512 * 1024


async def test_a_flood_of_commands_gives_others_their_turn():
    async with door(server={"junk_limit": 0}) as inbound:
        flood, other = await inbound.connect(), await inbound.connect()
        await flood.hear()
        await other.hear()
        flood.writer.write(b"NOOP\r\n" * 40_000)
        assert await other.say(b"NOOP\r\n") == [250]
        assert set(await flood.say(b"", 40_000)) == {250}


async def test_a_sink_that_lags_pauses_the_peer_and_goes_on():
    class Lagging(Octets):
        on_drained: Callable[[], None] | None = None
        full = True

        @property
        def congested(self) -> bool:
            return self.full and len(self.octets) > 100_000

    book = Recorder(make_sink=Lagging)
    async with door(book) as inbound:
        client = await inbound.connect()
        await client.hear()
        await client.say(ENVELOPE + b"DATA\r\n", 4)
        content = b"x" * 70 + b"\r\n"
        client.writer.write(content * 20_000 + b".\r\n")
        (connection,) = inbound.listener._admission.connections
        await inbound.until(lambda: not connection.reading)
        sink: Any = book.sinks[0]
        await inbound.until(lambda: sink.on_drained is not None)
        assert len(sink.octets) < len(content) * 20_000
        sink.full = False
        sink.on_drained()
        assert await client.hear() == 250
    assert book.messages == [content * 20_000]


async def test_a_client_that_closes_its_side_behind_the_content_gets_its_answer():
    acts: list[Callable[[], None]] = []
    book = Recorder(defer=acts.append)
    async with door(book) as inbound:
        client = await inbound.connect()
        client.writer.write(ENVELOPE + b"DATA\r\nx\r\n.\r\n")
        client.writer.write_eof()
        await inbound.until(lambda: bool(acts))
        acts[0]()
        assert b"250 2.0.0 Ok:  Message 1 accepted\r\n" in await client.reader.read()
        await inbound.until(lambda: not inbound.listener.connections)


async def test_a_reset_in_the_content_leaves_nothing():
    book = Recorder()
    async with door(book) as inbound:
        client = await inbound.connect()
        await client.say(ENVELOPE + b"DATA\r\n", 5)
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
        await inbound.until(lambda: not inbound.listener.connections)
    assert book.messages == []
    assert book.sinks[0].discarded
    assert book.events[-2] == "aborted"


async def test_the_last_reply_reaches_a_client_that_still_sends():
    """A close with unread input would reset the connection and destroy the reply."""
    async with door(Recorder(greeting=Reply(554, "5.7.1", "No"))) as inbound:
        client = await inbound.connect()
        client.writer.write(b"EHLO c\r\n" * 10_000)
        assert await client.reader.read() == b"554 5.7.1 No\r\n"


async def test_a_failed_handshake_of_implicit_tls_is_logged(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "mail.log")
    async with door(implicit_tls=True, log=log) as inbound:
        reader, writer = await asyncio.open_connection("127.0.0.1", inbound.listener.port)
        writer.write(b"EHLO no handshake\r\n")
        await reader.read()
        writer.close()
        while not (tmp_path / "mail.log").exists():
            await asyncio.sleep(0)
            log.flush()
    assert "SMTP Inbound: 127.0.0.1 TLS failed: " in (tmp_path / "mail.log").read_text()


async def test_an_implicit_tls_port_without_descriptors_does_not_turn_the_loop() -> None:
    """The port stayed readable while accepting failed, and was asked again at once, for ever."""

    class NoDescriptors:
        tries = 0

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def fileno(self) -> int:
            return self._sock.fileno()

        def accept(self) -> None:
            self.tries += 1
            raise OSError(errno.EMFILE, "Too many open files")

        def close(self) -> None:
            self._sock.close()

    class Waiting:
        loop = asyncio.get_running_loop()

    near, far = socket.socketpair()
    port = NoDescriptors(near)
    listening = SteppedPort(Waiting(), port)  # type: ignore[arg-type]
    far.send(b"somebody knocks")
    await asyncio.sleep(0.25)
    listening.close()
    far.close()
    assert 1 <= port.tries <= 4


TARPIT = {"error_delay_s": 0.05, "error_delay_after": 1, "error_limit": 0}


async def test_many_errors_are_answered_late_and_nobody_else_waits(tmp_path):
    log = MailLog(tmp_path / "log")
    async with door(server=TARPIT, log=log) as inbound:
        bad, good = await inbound.connect(), await inbound.connect()
        assert [await bad.hear(), await good.hear()] == [220, 220]
        began = clock.monotonic()
        assert await bad.say(b"FROB\r\n") == [500]
        bad.writer.write(b"FROB\r\nFROB\r\nNOOP\r\n")
        connections = inbound.listener._admission.connections
        await inbound.until(lambda: any(one.machine.stalled_s for one in connections))
        assert await good.say(b"HELO c\r\nNOOP\r\n", 2) == [250, 250]
        assert [await bad.hear() for _ in range(3)] == [500, 500, 250]
        assert clock.monotonic() - began >= 0.05 + 0.1 + 0.1
    log.close()
    assert (tmp_path / "log").read_text().count("has made many errors, its replies are delayed") == 1


async def test_who_pipelines_into_a_delay_is_not_read():
    async with door(server={**TARPIT, "error_delay_s": 10.0}) as inbound:
        flood = await inbound.connect()
        await flood.hear()
        flood.writer.write(b"FROB\r\nFROB\r\n" + b"NOOP\r\n" * 500_000)
        (connection,) = inbound.listener._admission.connections
        await inbound.until(lambda: not connection.reading)
        assert connection.machine.held < 1 << 20
        flood.writer.transport.abort()


async def test_who_leaves_within_a_delay_is_forgotten():
    async with door(server={**TARPIT, "error_delay_s": 10.0}) as inbound:
        client = await inbound.connect()
        await client.say(b"FROB\r\nFROB\r\n")
        (connection,) = inbound.listener._admission.connections
        await inbound.until(lambda: connection.machine.stalled_s > 0)
        client.writer.transport.abort()
        await inbound.until(lambda: inbound.listener.connections == 0)
        assert connection._stall is None


async def test_a_stop_and_a_deadline_do_not_wait_for_a_delayed_reply():
    times = Timeouts(unsuccessful_s=5)
    async with door(server={**TARPIT, "error_delay_s": 10.0}, timeouts=times) as inbound:
        overdue, last = await inbound.connect(), await inbound.connect()
        for client in (overdue, last):
            await client.say(b"FROB\r\nFROB\r\n")
        await inbound.until(lambda: all(one.machine.stalled_s for one in inbound.listener._admission.connections))
        now = clock.monotonic()
        (first, second) = sorted(inbound.listener._admission.connections, key=lambda one: one.peer.port)
        ports = {one.writer.get_extra_info("sockname")[1]: one for one in (overdue, last)}
        first.deadline.began = now
        inbound.listener.sweep(now)
        inbound.listener.sweep(now + 4.9)
        assert inbound.listener.connections == 2
        second.deadline.began = now + 4
        inbound.listener.sweep(now + 5.1)
        assert [await ports[first.peer.port].hear() for _ in range(3)] == [500, 500, 421]
        inbound.listener.suspend(0)
        inbound.listener.sweep(clock.monotonic() + 1)
        assert [await ports[second.peer.port].hear() for _ in range(3)] == [500, 500, 421]
