"""`core.http`: connections that bring no request."""

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from core import http
from core.http import HttpServer
from tests.support.authority import Authority, server_context
from tests.support.service import running

CA = Authority("root")


async def _application(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http._Patient, "request_s", 0.2)


async def _dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cadata=CA.pem.decode())
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="web.test")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n"])
async def test_connections_without_a_request_kept_everybody_else_out_for_ever(begun: bytes, tmp_path: Path) -> None:
    """A hundred of them, and the answer to all others was 503. A third one had a request, and brings no second."""
    server = HttpServer(_application, "127.0.0.1", 0, tls=lambda: server_context(*CA.host("web.test")))
    async with running(server):
        reader, writer = await _dial(server.port)
        writer.write(begun)
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                said = await reader.read()
                assert (b"200 OK" in said) is begun.endswith(b"\r\n\r\n")
        writer.close()


@pytest.mark.usefixtures("impatient")
async def test_an_answer_may_take_longer_than_a_request() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.4)
        await _application(scope, receive, send)

    server = HttpServer(slow, "127.0.0.1", 0, tls=lambda: server_context(*CA.host("web.test")))
    async with running(server):
        reader, writer = await _dial(server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(30):
            assert b"200 OK" in await reader.read()
        writer.close()
