"""tunnel.appliance.road: who is at the other end of one connection, told by what it says, when, and how it ends."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.pki import make_server_certificate
from tunnel.appliance.road import Candidate, Road, tls_context
from tunnel.appliance.verdict import Attempt, Way
from tunnel.appliance.wire import Wire, peek_banner

OURS = b"SSH-2.0-Gatepost_1.0 GatepostTunnels1\r\n"
HERE = Candidate("bastion.example.test", "192.0.2.1", 25)


def _pair(said: bytes) -> tuple[Callable[[str, int], Awaitable[socket.socket]], socket.socket]:
    """Give a connector to a peer that has said something, and the peer's end."""
    ours, other = socket.socketpair()
    ours.setblocking(False)
    other.sendall(said)

    async def connect(_address: str, _port: int) -> socket.socket:
        return ours

    return connect, other


@asynccontextmanager
async def _peer(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], **options: Any
) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()


async def _try(port: int, timeout_s: float = 0.3, late_s: float = 0.3) -> tuple[Wire | None, Attempt]:
    return await Road(timeout_s, late_s=late_s).attempt(Candidate("bastion.example.test", "127.0.0.1", port))


def _verdict(result: tuple[Wire | None, Attempt]) -> tuple[str, str]:
    wire, attempt = result
    assert wire is None
    return attempt.verdict.name, str(attempt.verdict.stage)


async def test_the_banner_is_left_for_ssh_to_read() -> None:
    connect, other = _pair(OURS)
    wire, attempt = await Road(1, connect=connect).attempt(HERE)
    assert wire is not None
    assert (attempt.verdict.name, attempt.detail) == ("ours", "")
    received = asyncio.Queue[bytes]()

    class Reader(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            received.put_nowait(data)

    transport, _ = await wire.create_connection(Reader, "", 22)
    assert await received.get() == OURS
    transport.abort()
    other.close()


async def test_a_banner_in_two_pieces_is_read_whole() -> None:
    ours, other = socket.socketpair()
    ours.setblocking(False)
    other.sendall(OURS[:5])
    async with asyncio.TaskGroup() as group:
        peeking = group.create_task(peek_banner(ours))
        await asyncio.sleep(0)
        other.sendall(OURS[5:])
    assert peeking.result() == OURS
    ours.close()
    other.close()


async def test_a_web_proxy_that_waits_for_an_empty_line_is_named() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads = await reader.readuntil(b"\r\n\r\n")
        assert heads.startswith(b"SSH-2.0-")
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        await reader.read()

    async with _peer(handle) as port:
        assert _verdict(await _try(port, 0.1, late_s=2)) == ("http", "banner")


@pytest.mark.parametrize("said", [OURS[:3], OURS[:-2]])
async def test_a_banner_that_never_ends_is_slow_and_not_ours(said: bytes) -> None:
    connect, other = _pair(said)
    assert _verdict(await Road(0.2, connect=connect).attempt(HERE)) == ("slow", "banner")
    other.close()


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"220 ********************************\r\n", "smtp"),
        (b"220 mail", "smtp"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "http"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "tls"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "foreign-ssh"),
        (b"x" * 100_000, "unknown"),
        (b"\r\n" * 50_000, "unknown"),
    ],
)
async def test_who_speaks_is_named_and_a_flood_of_lines_is_not_read(said: bytes, verdict: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()

    async with _peer(handle) as port:
        assert _verdict(await _try(port, 2)) == (verdict, "banner")


async def test_what_is_silent_is_spoken_to_before_it_is_called_so() -> None:
    heard = bytearray()

    async def handle(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            heard.extend(data)

    async with _peer(handle) as port:
        assert _verdict(await _try(port, 0.1, 0.1)) == ("silent", "banner")
    assert bytes(heard) == b"SSH-2.0-GatepostAppliance_1.0\r\n\r\n"


async def test_a_firewall_that_lets_the_server_speak_only_after_us_is_named_and_used() -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(OURS)
        await reader.read()

    async with _peer(handle) as port:
        wire, attempt = await _try(port, 0.1, 2)
        assert attempt.verdict.name == "late"
        assert wire is not None
        wire.close()


async def test_a_reset_after_our_line_is_told_from_a_reset_before_it() -> None:
    def reset(writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        reset(writer)

    async def at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reset(writer)

    async with _peer(after) as port:
        _, attempt = await _try(port, 0.1, 2)
        assert (attempt.verdict.name, attempt.detail) == ("reset", "after our line")
    async with _peer(at_once) as port:
        _, attempt = await _try(port, 2)
        assert (attempt.verdict.name, attempt.detail) == ("reset", "")


async def test_closing_refusal_and_no_answer_are_told_apart() -> None:
    async def close(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    async def never(_address: str, _port: int) -> socket.socket:
        await asyncio.Event().wait()
        raise AssertionError

    async with _peer(close) as port:
        assert _verdict(await _try(port)) == ("closed", "banner")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert _verdict(await _try(bound.getsockname()[1])) == ("refused", "tcp")
    assert _verdict(await Road(0.05, connect=never).attempt(HERE)) == ("time-out", "tcp")


async def _in_tls(folder: Path, said: bytes | None, authorities: str | None = None) -> tuple[Wire | None, Attempt]:
    """Try SSH in TLS with somebody who has a certificate of nobody, and says this inside; None: leaves."""
    own = folder / "own.pem"
    own.write_bytes(b"".join(make_server_certificate("bastion.example.test")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if said is not None:
            writer.write(said)
            await asyncio.sleep(5)

    async with _peer(speak, ssl=context) as port:
        road = Road(20 if said != b"" else 2, context=tls_context(authorities))
        return await road.attempt(Candidate("bastion.example.test", "127.0.0.1", port, Way.TLS))


async def test_a_bastion_with_a_certificate_of_its_own_was_taken_for_tls_inspection(tmp_path: Path) -> None:
    wire, attempt = await _in_tls(tmp_path, OURS)
    assert wire is not None
    wire.close()
    assert attempt.verdict.name == "ours"


@pytest.mark.parametrize(
    ("said", "verdict", "detail"),
    [
        (b"", "tls", "silent inside TLS"),
        (None, "tls", "closed inside TLS"),
        (b"HTTP/1.1 502 Bad Gateway\r\n", "tls", "HTTP/1.1 502 Bad Gateway"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "foreign-ssh", "SSH-2.0-OpenSSH_9.9"),
    ],
)
async def test_who_ends_tls_and_is_not_the_bastion_is_named(
    tmp_path: Path, said: bytes | None, verdict: str, detail: str
) -> None:
    result = await _in_tls(tmp_path, said)
    assert _verdict(result) == (verdict, "banner")
    assert result[1].detail == detail


async def test_with_authorities_a_certificate_of_others_ends_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(make_server_certificate("bastion.example.test")[1])
    assert _verdict(await _in_tls(tmp_path, OURS, str(tmp_path / "ca.pem"))) == ("tls-certificate", "tls")
