"""`core.http.HttpPort`: one request a connection, bounds, and another place while it runs."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from core import http
from core.errors import GatepostError
from core.http import HttpPort, Place
from tests.support.service import running
from tests.support.waiting import until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _application(_scope: Any, _receive: Any, send: Any) -> None:
    head = [(b"content-length", b"2"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"ok"})


def port_on(host: str = "127.0.0.1", port: int = 0) -> HttpPort:
    return HttpPort("health", _application, Place(host, port))


async def asked(place: Place | None, request: bytes = GET) -> bytes:
    assert place is not None
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*place)
        writer.write(request)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


def free(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


async def test_a_connection_is_closed_after_one_answer_whatever_it_asked_for() -> None:
    server = port_on()
    async with running(server):
        answer = await asked(server.place, GET * 3)
        assert answer.count(b"200 OK") == 1
        body = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
        assert (await asked(server.place, body + b"x" * 100_000)).count(b"200 OK") <= 1


async def test_a_head_that_does_not_end_is_refused() -> None:
    server = port_on()
    async with running(server):
        assert b" 400 " in await asked(server.place, b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000)


async def _refusing(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def test_an_answer_that_did_not_close_the_connection_let_a_second_request_follow() -> None:
    server = HttpPort("health", _refusing, Place("127.0.0.1", 0))
    async with running(server):
        answer = await asked(server.place, GET * 3)
        assert answer.count(b"HTTP/1.1") == 1
        assert b"connection: close" in answer.lower()


async def test_twenty_silent_connections_had_everybody_else_told_503() -> None:
    server = port_on()
    async with running(server):
        assert server.place is not None
        silent = [await asyncio.open_connection(*server.place) for _ in range(60)]
        for _ in range(30):
            assert b"200 OK" in await asked(server.place)
        for _, writer in silent:
            writer.close()


async def test_those_that_are_being_answered_do_not_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http._Brief, "most", 4)
    goes_on = asyncio.Event()
    came: list[int] = []

    async def waits(scope: Any, receive: Any, send: Any) -> None:
        came.append(1)
        await goes_on.wait()
        await _application(scope, receive, send)

    server = HttpPort("health", waits, Place("127.0.0.1", 0))
    async with running(server), asyncio.timeout(30), asyncio.TaskGroup() as group:
        first = []
        for number in range(3):
            first.append(group.create_task(asked(server.place)))
            await until(lambda number=number: len(came) > number)  # type: ignore[misc]
        assert b" 503 " in await asked(server.place)
        goes_on.set()
        assert [b"200 OK" in await one for one in first] == [True] * 3


async def test_noise_wrote_a_line_each_into_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    server = port_on()
    async with running(server):
        for _ in range(3):
            assert b" 400 " in await asked(server.place, b"\x16\x03\x01 no HTTP\r\n\r\n")
    assert capfd.readouterr().err == ""


async def test_silent_connections_are_bounded_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http._Brief, "request_s", 0.3)
    monkeypatch.setattr(http._Brief, "most", 4)
    server = port_on()
    async with running(server):
        assert server.place is not None
        silent = [await asyncio.open_connection(*server.place) for _ in range(7)]
        async with asyncio.timeout(10):
            for reader, writer in silent:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
        assert b"200 OK" in await asked(server.place)


async def test_it_moves_without_losing_the_old_place_before_and_can_be_switched_off_and_on() -> None:
    server = port_on()
    async with running(server):
        old, new = server.place, Place("127.0.0.1", free())
        assert old is not None
        move = await server.prepare(new)
        assert b"200 OK" in await asked(old), "nothing changes before it is applied"
        await move.apply()
        assert b"200 OK" in await asked(new)
        with pytest.raises(ConnectionRefusedError):
            await asked(old)
        await (await server.prepare(None)).apply()
        with pytest.raises(ConnectionRefusedError):
            await asked(new)
        await (await server.prepare(new)).apply()
        assert b"200 OK" in await asked(new)


async def test_a_wider_address_on_the_same_port() -> None:
    server = port_on()
    async with running(server):
        assert server.place is not None
        wide = Place("0.0.0.0", server.place.port)
        await (await server.prepare(wide)).apply()
        assert b"200 OK" in await asked(Place("127.0.0.2", wide.port))


async def test_a_place_that_is_taken_is_refused_and_what_is_dropped_is_free_again() -> None:
    server = port_on()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Place("127.0.0.1", other.getsockname()[1])
        async with running(server):
            with pytest.raises(GatepostError, match=f"health: cannot listen on 127.0.0.1:{taken.port}"):
                await server.prepare(taken)
            wanted = Place("127.0.0.1", free())
            (await server.prepare(wanted)).drop()
            await (await server.prepare(wanted)).apply()
            assert b"200 OK" in await asked(wanted)
        with pytest.raises(ExceptionGroup, match="unhandled"):
            async with running(HttpPort("health", _application, taken)):
                pass
