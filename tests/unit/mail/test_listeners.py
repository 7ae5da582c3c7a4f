"""The listeners of a gateway process: as its control verbs see them, and going over to others while they serve."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import EX_NOINPUT, EX_UNAVAILABLE, GatepostError
from core.maillog import MailLog
from core.smtp.door import Door
from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings
from mail.listeners import Listeners, Shared, Ways, nobody_shares
from protocol.smtp.settings import ServerSettings
from tests.support.ports import free_port
from tests.support.service import running
from tests.support.smtp_client import refused
from tests.support.smtp_session import Recorder
from tests.support.waiting import until

HOST = "127.0.0.1"


def ways(name: str, port: int = 0, host: str = HOST, **options: object) -> Ways:
    settings = ListenerSettings(name, host, port, ServerSettings("mx.test"), reuse_port=True, **options)  # type: ignore[arg-type]
    return Ways(settings, Recorder().session, Door())


def make(one: Ways, suspended: bool) -> SmtpListener:
    return SmtpListener(one.settings, one.session, door=one.door, suspended=suspended)


def listeners(folder: Path, *these: Ways, shared: Shared = nobody_shares) -> Listeners:
    chosen = these or (ways("In"), ways("Out"))
    log = MailLog(folder / "log")
    return Listeners(chosen, make, state=folder / "suspended.json", log=log, shared=shared)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, text: str) -> str:
        self.writer.write(text.encode() + b"\r\n")
        return (await self.reader.readline()).decode()[:3]


@contextlib.asynccontextmanager
async def dialled(port: int) -> AsyncIterator[Client]:
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            assert (await reader.readline())[:3] == b"220"
            yield Client(reader, writer)
        finally:
            writer.transport.abort()


async def states(one: Listeners) -> dict[str, str]:
    return {row["name"]: row["state"] for row in (await one.show({}))["listeners"]}


async def test_what_is_suspended_stays_so_over_a_restart_and_the_others_do_not(tmp_path: Path) -> None:
    """A listener that was not open yet was remembered as suspended, whatever was asked for."""
    before = listeners(tmp_path)
    async with running(before):
        assert await before.suspend({"listeners": ["In"], "delay_s": 0}) == {"listeners": ["In"], "state": "suspended"}
        assert before.services["In"].suspended
    after = listeners(tmp_path)
    async with running(after):
        assert await states(after) == {"In": "suspended", "Out": "listening"}
        assert after.state == "Online"
        await after.suspend({})
        assert after.state == "Receiving suspended"
        await after.resume({})
        assert await states(after) == {"In": "listening", "Out": "listening"}
    assert (tmp_path / "suspended.json").read_bytes() == b"[]"


async def test_a_name_that_is_no_listener_is_refused_before_anything_happens(tmp_path: Path) -> None:
    one = listeners(tmp_path)
    with pytest.raises(GatepostError, match="'Inn'; there are: In, Out") as caught:
        await one.suspend({"listeners": ["In", "Inn"]})
    assert caught.value.status == EX_NOINPUT
    assert not (tmp_path / "suspended.json").exists()


async def test_a_listener_opens_another_moves_a_third_goes_and_no_connection_ends(tmp_path: Path) -> None:
    first, second, third, fourth = (free_port() for _ in range(4))
    one = listeners(tmp_path, ways("In", first), ways("Out", second))
    async with running(one), dialled(first) as moved, dialled(second) as deleted:
        switch = await one.prepare([ways("In", third), ways("New", fourth)])
        assert await refused(HOST, third), "what is only prepared takes nobody"
        await switch.apply()
        async with dialled(third) as new, dialled(fourth) as other:
            assert [await client.say("NOOP") for client in (moved, deleted, new, other)] == ["250"] * 4
            assert await refused(HOST, first)
            assert await refused(HOST, second)
            assert one.connections == 4
            assert await states(one) == {"In": "listening", "New": "listening"}
            assert (await one.show({}))["ending"] == [{"listener": "Out", "connections": 1}]
        deleted.writer.transport.abort()
        await until(lambda: one.connections == 1)


async def test_what_waits_in_a_port_when_it_closes_is_served(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    one = listeners(tmp_path, ways("In", first))
    async with running(one):
        switch = await one.prepare([ways("In", second)])
        with socket.create_connection((HOST, first)) as early:  # not accepted yet: the loop has not turned
            await switch.apply()
            early.setblocking(False)
            async with asyncio.timeout(20):
                greeting = await asyncio.get_running_loop().sock_recv(early, 100)
            assert greeting.startswith(b"220")


async def test_an_address_that_is_not_of_this_machine_is_refused_with_the_listeners_name(tmp_path: Path) -> None:
    """The refusal of a commit began with ": cannot listen on 192.0.2.1:25"."""
    async with running(one := listeners(tmp_path, ways("In"))):
        with pytest.raises(GatepostError, match=r"^listener Far: cannot listen on 192\.0\.2\.1:\d+: .*does not have"):
            await one.prepare([ways("Far", free_port(), "192.0.2.1")])


async def test_a_port_that_a_stranger_has_refuses_all_of_it_and_nothing_changes(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    one = listeners(tmp_path, ways("In", first))
    with socket.create_server((HOST, 0)) as stranger:
        taken = stranger.getsockname()[1]
        async with running(one):
            with pytest.raises(GatepostError, match=f"listener Bad: cannot listen on {HOST}:{taken}: .*choose another"):
                await one.prepare([ways("New", second), ways("Bad", taken)])
            assert await states(one) == {"In": "listening"}
            socket.create_server((HOST, second)).close()  # nobody holds it any more
            async with dialled(first):
                pass


async def test_a_stranger_who_would_share_the_port_is_one_too(tmp_path: Path) -> None:
    """With SO_REUSEPORT the system lets two programs of one user have a port, and deals connections out to both."""
    one = listeners(tmp_path, ways("In", free_port()))
    with socket.create_server((HOST, 0), reuse_port=True) as stranger:
        taken = stranger.getsockname()[1]
        async with running(one):
            with pytest.raises(GatepostError, match="in use") as caught:
                await one.prepare([ways("In", taken)])
            assert caught.value.status == EX_UNAVAILABLE


async def test_a_sibling_that_listens_there_already_or_prepares_too_is_no_stranger(tmp_path: Path) -> None:
    port = free_port()
    asked: list[tuple[str, int]] = []

    async def shared(host: str, number: int) -> bool:
        asked.append((host, number))
        return True

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = listeners(tmp_path / "a", ways("In", free_port()))
    two = listeners(tmp_path / "b", ways("In", free_port()), shared=shared)
    async with running(one), running(two):
        at_one, at_two = await one.prepare([ways("In", port)]), await two.prepare([ways("In", port)])
        await at_one.apply()
        await at_two.apply()
        assert asked == []
        again = await two.prepare([ways("In", port), ways("More", one.services["In"].port)])
        again.drop()
        assert asked == []
        other = free_port()
        await (await one.prepare([ways("In", other)])).apply()
        await (await two.prepare([ways("In", other)])).apply()
        assert asked == [(HOST, other)]
        assert await states(two) == {"In": "listening"}


async def test_listeners_change_places_and_names(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    one = listeners(tmp_path, ways("A", first), ways("B", second))
    async with running(one), dialled(first) as old:
        await (await one.prepare([ways("B", first), ways("C", second)])).apply()
        assert await states(one) == {"B": "listening", "C": "listening"}
        async with dialled(first), dialled(second):
            assert one.services["B"].connections == 1
            assert one.services["C"].connections == 1
        assert await old.say("NOOP") == "250"


async def test_a_listener_that_only_gets_another_name_keeps_its_connections(tmp_path: Path) -> None:
    """They were told 421 after the delay that those of a deleted listener get."""
    port = free_port()
    one = listeners(tmp_path, ways("In", port))
    async with running(one), dialled(port) as old:
        await (await one.prepare([ways("Incoming", port)])).apply()
        assert (await one.show({}))["ending"] == []
        assert one.services["Incoming"].connections == 1
        assert await old.say("NOOP") == "250"
        async with dialled(port):
            assert await states(one) == {"Incoming": "listening"}


async def test_a_port_turns_to_connections_of_another_kind_on_the_same_socket(tmp_path: Path) -> None:
    port = free_port()
    one = listeners(tmp_path, ways("In", port))
    async with running(one), dialled(port) as old:
        await (await one.prepare([ways("In", port, implicit_tls=True)])).apply()
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"EHLO c.test\r\n")
        async with asyncio.timeout(20):
            assert (await reader.read()) in (b"", b"\x15\x03\x01\x00\x02\x02F"), "this is no handshake"
        writer.close()
        assert await old.say("NOOP") == "250"
        await (await one.prepare([ways("In", port)])).apply()
        async with dialled(port):
            pass


async def test_what_is_suspended_stays_so_when_it_moves_and_when_it_is_renamed(tmp_path: Path) -> None:
    first, second = free_port(), free_port()
    one = listeners(tmp_path, ways("In", first))
    async with running(one):
        await one.suspend({"delay_s": 0})
        await (await one.prepare([ways("In", second)])).apply()
        assert await states(one) == {"In": "suspended"}
        await (await one.prepare([ways("Out", second)])).apply()
        assert await states(one) == {"Out": "suspended"}
        await one.resume({})
        async with dialled(second):
            pass
        await one.suspend({"delay_s": 0})
        await (await one.prepare([])).apply()
        await (await one.prepare([ways("Out", first)])).apply()
        assert await states(one) == {"Out": "listening"}, "it was deleted in between"


async def test_an_address_that_is_lost_between_the_steps_is_tried_for_until_it_is_free(tmp_path: Path) -> None:
    port = free_port()
    one = listeners(tmp_path, ways("In", free_port()))
    async with running(one):
        switch = await one.prepare([ways("In", port)])
        with socket.create_server((HOST, port)):
            await switch.apply()
            assert await states(one) == {"In": "waiting"}
        await until(lambda: one.services["In"].state == "listening")


async def test_a_candidate_that_is_dropped_holds_no_address(tmp_path: Path) -> None:
    port = free_port()
    one = listeners(tmp_path, ways("In", free_port()))
    async with running(one):
        (await one.prepare([ways("In", port)])).drop()
        with socket.socket() as sock:  # without SO_REUSEADDR even a bound socket would be in the way
            sock.bind((HOST, port))
