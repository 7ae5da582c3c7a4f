"""`core.smtp.race`: real sockets; an address that swallows packets is one whose listener's queue is full."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from core.smtp import race as module
from core.smtp.client_settings import ConnectionSettings, Timeouts
from core.smtp.race import race
from core.smtp.target import Target
from protocol.smtp.client_settings import ClientSettings
from protocol.smtp.failure import ConnectError
from tests.support.ports import free_port

SETTINGS = ConnectionSettings(ClientSettings("client.test"), Timeouts(connect_s=1))
PATIENT = ConnectionSettings(ClientSettings("client.test"), Timeouts(connect_s=90))


@contextmanager
def black_hole() -> Iterator[Target]:
    """Give an address that neither accepts nor refuses: its queue holds one connection, which is there."""
    with socket.socket() as listener, socket.socket() as filler, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for one in (filler, second):
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield Target("hole", "127.0.0.1", listener.getsockname()[1])


@asynccontextmanager
async def living() -> AsyncIterator[Target]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield Target("live", "127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


class Told:
    def __init__(self) -> None:
        self.failed: list[tuple[str, str]] = []
        self.slow: list[str] = []

    def fail(self, target: Target, problem: ConnectError) -> None:
        self.failed.append((target.host, problem.text))

    def late(self, target: Target) -> None:
        self.slow.append(target.host)


async def run(*targets: Target, settings: ConnectionSettings = SETTINGS) -> tuple[str, Told]:
    told = Told()
    found = await race(targets, settings, failed=told.fail, slow=told.late)
    if found is not None:
        found[1].close()
    return (found[0].host if found is not None else "", told)


async def test_a_dead_address_costs_the_stagger_and_not_its_time_out() -> None:
    """With 30 s for each dead exchanger, a destination got a connection every 30 s."""
    with black_hole() as dead:
        async with living() as live, asyncio.timeout(30):
            winner, told = await run(dead, live, settings=PATIENT)
    assert (winner, told.failed, told.slow) == ("live", [], ["hole"])


async def test_the_next_attempt_begins_at_once_when_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STAGGER_S", 90.0)
    async with living() as live, asyncio.timeout(30):
        winner, told = await run(Target("closed", "127.0.0.1", free_port()), live)
    assert winner == "live"
    assert told.failed == [("closed", "[Errno 111] Connection refused")]


async def test_the_first_is_not_overtaken_without_need() -> None:
    async with living() as one, living() as two:
        first = Target("first", one.address, one.port)
        assert (await run(first, two))[0] == "first"


async def test_nobody_answers() -> None:
    with black_hole() as dead:
        winner, told = await run(dead, Target("closed", "127.0.0.1", free_port()))
    assert winner == ""
    assert sorted(name for name, _ in told.failed) == ["closed", "hole"]
    assert dict(told.failed)["hole"] == "timeout: no connection within 1 seconds"


async def test_a_race_that_is_cancelled_leaves_no_socket() -> None:
    with black_hole() as dead, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await run(dead, Target("again", dead.address, dead.port))


def test_families_take_turns() -> None:
    six = [Target(f"s{number}", f"2001:db8::{number}") for number in range(3)]
    four = [Target("f0", "192.0.2.1")]
    assert [one.host for one in module._alternating([*six, *four])] == ["s0", "f0", "s1", "s2"]
    assert [one.host for one in module._alternating([*four, *six])] == ["f0", "s0", "s1", "s2"]
