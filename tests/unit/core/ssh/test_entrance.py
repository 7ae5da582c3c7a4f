"""How connections begin: behind a balancer, in TLS, as HTTP, or as SSH where the server speaks first."""

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any, ClassVar

import asyncssh
import pytest

from core import ssh
from core.pki import make_server_certificate
from tests.support.ports import free_port
from tests.support.service import running
from tests.support.waiting import until


class _Server(asyncssh.SSHServer):
    seen: ClassVar[list[Any]] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.seen.append(conn.get_extra_info("peername"))

    def begin_auth(self, username: str) -> bool:
        return False


class _Door:
    """A listener with an entrance, and a client for it."""

    def __init__(self, **entrance: Any) -> None:
        self.refusals: list[ssh.Refusal] = []
        self.key = ssh.make_key()
        _Server.seen = []
        limits = entrance.pop("limits", None)
        self.port = free_port()
        self.listener = ssh.SshListener(
            "door",
            [("127.0.0.1", self.port)],
            ssh.server_options(_Server, [self.key], version="Gatepost_1.0 GatepostTunnels1"),
            entrance=ssh.Entrance(**{"shared_ports": frozenset({self.port}), **entrance}),
            limits=limits,
            refused=self.refusals.append,
        )

    async def log_in(self, **options: Any) -> None:
        known = asyncssh.import_known_hosts(f"[127.0.0.1]:{self.port} {ssh.public_text(self.key)}\n")
        async with asyncssh.connect(
            "127.0.0.1", self.port, config=None, username="x", known_hosts=known, client_keys=None, **options
        ):
            pass


def _context(folder: Path) -> ssl.SSLContext:
    key, certificate = make_server_certificate("upgrades.example.test")
    (folder / "c").write_bytes(certificate)
    (folder / "k").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c", folder / "k")
    context.set_alpn_protocols([ssh.ALPN])
    return context


@asynccontextmanager
async def _stream(port: int, **options: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """Read to the end; a reset is an end too, since nobody read what we sent."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


BANNER = b"SSH-2.0-Gatepost_1.0 GatepostTunnels1\r\n"


async def test_on_a_shared_port_the_server_speaks_first_to_a_silent_client() -> None:
    door = _Door()
    async with running(door.listener), _stream(door.port) as (reader, _):
        begun = time.monotonic()
        assert await reader.readline() == BANNER
        assert time.monotonic() - begun < 20


async def test_a_client_that_speaks_ssh_at_once_is_served_at_once() -> None:
    door = _Door(look_s=30)
    async with running(door.listener):
        async with asyncio.timeout(10):
            await door.log_in()


async def test_ssh_in_tls_with_its_alpn_name(tmp_path: Path) -> None:
    context = _context(tmp_path)
    door = _Door(tls=lambda: context)
    client = ssl.create_default_context()
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols([ssh.ALPN])
    async with running(door.listener):
        async with _stream(door.port, ssl=client) as (reader, writer):
            assert await reader.readline() == BANNER
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "ssh"
        await door.log_in(tunnel=_Tls(door.port, client))


class _Tls:
    """Lets asyncssh dial in TLS."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port, self._context = port, context

    async def create_connection(self, factory: Any, host: str, port: int) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.create_connection(factory, "127.0.0.1", self._port, ssl=self._context)

    def close(self) -> None:
        """Nothing of ours."""

    async def wait_closed(self) -> None:
        """Nothing of ours."""


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:22 HTTP/1.1\r\n\r\n", b"POST / \r\n"]
)
async def test_a_web_client_gets_a_short_page(line: bytes) -> None:
    door = _Door()
    async with running(door.listener), _stream(door.port) as (reader, writer):
        writer.write(line)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"SSH server" in answer
    assert [refusal.rule for refusal in door.refusals] == ["http"]


async def test_tls_where_there_is_no_certificate_is_no_http_and_no_ssh() -> None:
    door = _Door()
    async with running(door.listener), _stream(door.port) as (reader, writer):
        writer.write(b"\x16\x03\x01\x00\x05hello\n")
        assert await reader.readline() == BANNER
        assert await _rest(reader) == b""


@pytest.mark.parametrize("version", [1, 2])
async def test_a_listed_balancer_says_who_comes(version: int) -> None:
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 22\r\n"
    if version == 2:
        block = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack("!HH", 4321, 22)
        header = b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack("!H", len(block)) + block
    door = _Door(proxies=(ip_network("127.0.0.0/8"),))
    async with running(door.listener), _stream(door.port) as (reader, writer):
        writer.write(header)
        assert await reader.readline() == BANNER
    assert _Server.seen == [("192.0.2.7", 4321)]


async def test_a_listed_balancer_without_a_header_is_refused_and_others_may_not_send_one() -> None:
    door = _Door(proxies=(ip_network("127.0.0.0/8"),))
    async with running(door.listener), _stream(door.port) as (reader, writer):
        writer.write(b"SSH-2.0-x\r\n")
        assert await _rest(reader) == b""
    assert [refusal.rule for refusal in door.refusals] == ["proxy"]
    door = _Door()
    async with running(door.listener), _stream(door.port) as (reader, writer):
        writer.write(b"PROXY TCP4 192.0.2.7 192.0.2.1 4321 22\r\n")
        assert await reader.readline() == BANNER
        assert await _rest(reader) == b""
    assert _Server.seen[0][0] == "127.0.0.1"


def _charged(door: _Door, source: str = "127.0.0.1") -> int:
    return door.listener.gate.kept_out_s(source)


def _charging() -> ssh.AcceptLimits:
    dear = {what: 60 * seconds for what, seconds in ssh.PenaltyTerms().seconds.items()}
    return ssh.AcceptLimits(penalties=ssh.PenaltyTerms(dear, least_s=0.6), login_timeout_s=30)


async def _settled(door: _Door, refusals: int) -> None:
    await until(lambda: len(door.refusals) >= refusals)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("said", [b"", b"SSH-2.0-balancer\r\n"])
async def test_who_reads_the_banner_and_leaves_is_charged_nothing(said: bytes, shared: bool, reset: bool) -> None:
    door = _Door(limits=_charging(), look_s=0.01, **({} if shared else {"shared_ports": frozenset()}))
    async with running(door.listener):
        for _ in range(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            assert await reader.readline() == BANNER
            writer.write(said)
            if reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()
        await _settled(door, 10)
        assert _charged(door) == 0
        await door.log_in()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"SSH-2.0-x\r\n" + b"\0\0\0\x0c\x0a\x14" + bytes(10), id="a broken key exchange"),
        pytest.param(b"SSH-2.0-x\r\n" + b"\0\0\0\x0c\x05\x02\0\0\0\0" + bytes(6), id="a packet"),
        pytest.param(b"hello\r\n", id="no SSH"),
        pytest.param(b"SSH-2.0-\xff\r\n", id="a version that is not text"),
    ],
)
async def test_who_makes_us_work_and_leaves_is_charged(said: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    door = _Door(limits=_charging(), shared_ports=frozenset())
    async with running(door.listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        assert await reader.readline() == BANNER
        writer.write(said)
        await asyncio.sleep(0.05)
        writer.close()
        await _settled(door, 1)
        assert 0 < _charged(door) <= 60
        assert [refusal.rule for refusal in door.refusals] == ["broken"]
    assert "incident" not in capsys.readouterr().err, "what a peer sends is no fault of ours"


async def test_tls_that_is_begun_and_not_finished_is_charged(tmp_path: Path) -> None:
    context = _context(tmp_path)
    door = _Door(limits=_charging(), tls=lambda: context)
    async with running(door.listener):
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"\x16\x03\x01\x00\x05hello")
        writer.close()
        await _settled(door, 1)
        assert 0 < _charged(door) <= 60


async def test_who_sees_the_host_key_and_leaves_may_do_so_some_times_in_a_row() -> None:
    """As an appliance's probe does on each port."""
    door = _Door(limits=ssh.AcceptLimits(penalties=ssh.PenaltyTerms()))
    door.listener.options = ssh.server_options(asyncssh.SSHServer, [door.key])
    async with running(door.listener):
        begun = time.monotonic()
        for _ in range(30):
            with pytest.raises(asyncssh.PermissionDenied):
                await door.log_in()
        await _settled(door, 30)
        assert _charged(door) == 0
        standing = door.listener.gate._penalties
        assert standing is not None
        assert begun < standing._of["127.0.0.1"].until < time.monotonic() + 3
