"""tunnel.appliance.proxy: CONNECT and SOCKS5 against scripted and hostile proxies; the first octet behind is kept."""

import asyncio
import base64
import socket
from pathlib import Path

import pytest

from core.errors import GatepostError
from tunnel.appliance.proxy import Proxy, ProxyFailed, dialled, proxy_of

HTTP = Proxy("http", "127.0.0.1", 3128)
SOCKS = Proxy("socks5", "127.0.0.1", 1080)
NAMED = ("bastion.example.test", 25)


async def _talk(proxy: Proxy, *script: tuple[int, bytes]) -> tuple[bytes, bytes, ProxyFailed | OSError | None]:
    """Run one dialogue: for each step read so many octets (0: up to an empty line) and answer. Gives what was said
    to the proxy, what is left in the socket, and the failure."""
    ours, other = socket.socketpair()
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=other)
    heard = b""

    async def answer() -> None:
        nonlocal heard
        for octets, said in script:
            heard += await (reader.readexactly(octets) if octets else reader.readuntil(b"\r\n\r\n"))
            writer.write(said)
            if not said:
                writer.close()

    failure: ProxyFailed | OSError | None = None
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(answer())
        try:
            await dialled(ours, proxy, *NAMED)
        except (ProxyFailed, OSError) as error:
            failure = error
    left = b""
    if failure is None:
        left = ours.recv(1000)
    ours.close()
    writer.close()
    return heard, left, failure


async def test_connect_names_host_and_port_and_leaves_what_follows_the_head() -> None:
    heard, left, failure = await _talk(HTTP, (0, b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\nSSH-2.0-Gate"))
    assert failure is None
    assert heard.startswith(b"CONNECT bastion.example.test:25 HTTP/1.1\r\nHost: bastion.example.test:25\r\n")
    assert b"Proxy-Authorization" not in heard
    assert left == b"SSH-2.0-Gate"


async def test_credentials_go_to_the_proxy_only_where_there_are_some() -> None:
    proxy = Proxy("http", "127.0.0.1", 3128, "ana", "pässword")
    heard, _, failure = await _talk(proxy, (0, b"HTTP/1.0 200 OK\r\n\r\nx"))
    assert failure is None
    word = base64.b64encode("ana:pässword".encode())
    assert b"Proxy-Authorization: Basic " + word in heard
    assert "pässword" not in repr(proxy)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "proxy-login"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "proxy-refused"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "proxy-refused"),
        (b"HTTP/1.1 2000 x\r\n\r\n", "proxy-refused"),
        (b"HTTP/1.1\r\n\r\n", "no-proxy"),
        (b"220 mail.example.test ESMTP\r\n", "no-proxy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000, "no-proxy"),
    ],
)
async def test_what_a_proxy_answers_instead_has_a_verdict(answer: bytes, verdict: str) -> None:
    _, _, failure = await _talk(HTTP, (0, answer))
    assert isinstance(failure, ProxyFailed)
    assert failure.verdict.name == verdict
    assert failure.verdict.stage == "proxy"
    assert len(failure.detail) <= 80


async def test_a_proxy_that_hangs_up_is_an_error_of_the_connection() -> None:
    for proxy, octets in ((HTTP, 0), (SOCKS, 3)):
        _, _, failure = await _talk(proxy, (octets, b""))
        assert isinstance(failure, OSError)


async def test_socks_asks_by_name_and_leaves_what_follows() -> None:
    heard, left, failure = await _talk(
        SOCKS, (3, b"\x05\x00"), (7 + len(NAMED[0]), b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x19SSH-")
    )
    assert failure is None
    assert heard == b"\x05\x01\x00" + b"\x05\x01\x00\x03\x14bastion.example.test\x00\x19"
    assert left == b"SSH-"


async def test_socks_logs_in_where_the_proxy_wants_it() -> None:
    proxy = Proxy("socks5", "127.0.0.1", 1080, "ana", "secret")
    log_in = b"\x01\x03ana\x06secret"
    bound = b"\x05\x00\x00\x03\x04here\x00\x19S"
    heard, _, failure = await _talk(proxy, (4, b"\x05\x02"), (len(log_in), b"\x01\x00"), (7 + len(NAMED[0]), bound))
    assert failure is None
    assert log_in in heard
    _, _, failure = await _talk(proxy, (4, b"\x05\x02"), (len(log_in), b"\x01\x01"))
    assert isinstance(failure, ProxyFailed)
    assert failure.verdict.name == "proxy-login"


@pytest.mark.parametrize(
    ("methods", "reply", "verdict"),
    [
        (b"\x05\xff", b"", "proxy-login"),
        (b"\x05\x02", b"", "proxy-login"),
        (b"HT", b"", "no-proxy"),
        (b"\x05\x00", b"\x05\x02\x00\x01", "proxy-refused"),
        (b"\x05\x00", b"\x04\x00\x00\x01", "no-proxy"),
    ],
)
async def test_what_a_socks_proxy_answers_instead_has_a_verdict(methods: bytes, reply: bytes, verdict: str) -> None:
    script = [(3, methods)] + ([(7 + len(NAMED[0]), reply)] if reply else [])
    _, _, failure = await _talk(SOCKS, *script)
    assert isinstance(failure, ProxyFailed)
    assert failure.verdict.name == verdict


def test_the_proxy_is_read_from_its_url_and_the_credentials_from_their_file(tmp_path: Path) -> None:
    assert proxy_of("", None) is None
    assert proxy_of("http://proxy.example.test:3128", None) == Proxy("http", "proxy.example.test", 3128)
    file = tmp_path / "proxy"
    file.write_text("ana:se:cret\n")
    assert proxy_of("socks5://[::1]:1080", file) == Proxy("socks5", "::1", 1080, "ana", "se:cret")
    for wrong in ("", "ana", "ana:a\nb:c\n", f"ana:{'x' * 256}"):
        file.write_text(wrong)
        with pytest.raises(GatepostError, match="USER:PASSWORD"):
            proxy_of("http://p:1", file)
    with pytest.raises(GatepostError, match="cannot be read"):
        proxy_of("http://p:1", tmp_path / "absent")
