"""`mail.delivery.opening` and `pool`: which address is spoken to, and whose idle connection is used."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from core.smtp.client_settings import NO_TLS, ConnectionSettings, Timeouts, TlsSettings
from core.smtp.target import Target
from mail.delivery.courier import Busy
from mail.delivery.host import HostTable
from mail.delivery.limit import Limits
from mail.delivery.opening import Desk, Search, Wanted
from mail.delivery.pool import Pool, key_of
from mail.delivery.resolve import NoDestination
from mail.delivery.smtp_line import ORDINARY, SmtpLine
from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.failure import Refused
from tests.support.level import LevelPlan
from tests.support.ports import free_port
from tests.support.queue_machine import FakeLog
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.waiting import until
from tests.unit.core.smtp.test_race import black_hole
from tests.unit.mail.delivery.test_carriage import job

SETTINGS = ConnectionSettings(ClientSettings("esa.test"), Timeouts(connect_s=1))


async def patient(peer: Peer) -> None:
    """Take one message after the other until QUIT."""
    await peer.opening("PIPELINING")
    with contextlib.suppress(AssertionError):
        while True:
            await peer.accept()
    await peer.say("221 bye")


class Place:
    """Everything that searches share."""

    def __init__(self) -> None:
        self.log = FakeLog()
        self.hosts = HostTable(lambda: 1.0, lambda: 1.0)
        numbers = iter(range(1, 100))
        self.desk = Desk(self.hosts, Pool(), numbers.__next__, self.log, ORDINARY)
        self.tls_errors: list[str] = []

    async def open(
        self, *targets: Target, limits: Limits | None = None, settings: ConnectionSettings = SETTINGS, gateway: str = ""
    ) -> SmtpLine:
        plan = LevelPlan("off")
        wanted = Wanted("x.test", gateway, settings, limits or Limits(), plan, self.tls_errors.append)
        return await Search(self.desk, wanted).line(targets)


def at(port: int, host: str = "mx", preference: int = 0) -> Target:
    return Target(host, "127.0.0.1", port, preference)


@asynccontextmanager
async def idle(place: Place, line: SmtpLine) -> AsyncIterator[list[bool]]:
    """Have a line idle, as the dispatcher does; the list holds an entry for each time that it was given up."""
    given_up: list[bool] = []

    def recall() -> bool:
        given_up.append(True)
        return len(given_up) == 1

    line.lend(recall)
    yield given_up


async def test_another_destination_takes_over_an_idle_connection() -> None:
    place = Place()
    async with ScriptedServer(patient) as server:
        first = await place.open(at(server.port, "mx.one"))
        await first.send(job(b"A: b\r\n\r\n"))
        async with idle(place, first) as given_up:
            second = await place.open(at(server.port, "mx.two"))
            assert given_up == [True]
        assert (second.dcid, second.carried, server.connections) == (first.dcid, 1, 1)
        assert (first.remote_host, second.remote_host) == ("mx.one", "mx.two")
        assert not first.usable
        await first.close()
        (result,) = await second.send(job(b"A: b\r\n\r\n"))
        assert result.kind == "delivered"
        assert place.hosts.open("", "127.0.0.1") == 1
        await second.close()
        assert place.hosts.open("", "127.0.0.1") == 0
    assert len(place.log.having("New SMTP DCID")) == 1
    assert place.log.having("DCID 1 close") == ["DCID 1 close"]


async def test_a_busy_connection_is_not_taken_away() -> None:
    place = Place()
    async with ScriptedServer(patient) as server:
        first = await place.open(at(server.port))
        first.lend(lambda: False)
        assert (await place.open(at(server.port))).dcid == 2
        assert first.usable
        assert place.hosts.open("", "127.0.0.1") == 2


async def test_a_connection_that_has_carried_its_messages_is_not_taken_over() -> None:
    place = Place()
    async with ScriptedServer(patient) as server:
        first = await place.open(at(server.port))
        await first.send(job(b"A: b\r\n\r\n"))
        async with idle(place, first) as given_up:
            assert (await place.open(at(server.port), limits=Limits(messages_per_connection=1))).dcid == 2
        assert given_up == []


async def test_a_connection_that_the_peer_closed_meanwhile_is_not_taken_over() -> None:
    async def short(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.accept()

    place = Place()
    async with ScriptedServer(short, patient) as server:
        first = await place.open(at(server.port))
        await first.send(job(b"A: b\r\n\r\n"))
        async with idle(place, first):
            await until(lambda: not first.usable)
            assert (await place.open(at(server.port))).dcid == 2
    assert not place.log.having("Connection Error")


def test_connections_are_shared_only_where_nothing_tells_them_apart() -> None:
    other = ConnectionSettings(ClientSettings("news.test"), source_address="127.0.0.9")
    one = key_of("", at(25, "mx.one"), SETTINGS, NO_TLS)
    assert key_of("", at(25, "mx.two"), SETTINGS, NO_TLS) == one
    assert key_of("", at(26), SETTINGS, NO_TLS) != one
    assert key_of("news", at(25), SETTINGS, NO_TLS) != one
    assert key_of("", at(25), other, NO_TLS) != one
    assert key_of("", at(25), SETTINGS, TlsSettings(TlsUse.OFFERED, identity="preferred")) != one
    judged = TlsSettings(TlsUse.REQUIRED, identity="verify", judge=lambda _chain: None)
    assert key_of("", at(25, "mx.one"), SETTINGS, judged) != key_of("", at(25, "mx.two"), SETTINGS, judged)


async def test_addresses_of_equal_preference_race_and_losers_are_no_failures() -> None:
    """One dead exchanger of two held every second connection for its whole time-out."""
    place = Place()
    with black_hole() as dead:
        async with ScriptedServer(patient) as server, asyncio.timeout(30):
            settings = replace(SETTINGS, timeouts=Timeouts(connect_s=90))
            line = await place.open(dead, at(server.port), settings=settings)
            assert line.remote_ip == "127.0.0.1"
    assert len(place.log.lines) == 1


async def test_a_backup_is_tried_after_all_of_the_better_preference_failed() -> None:
    async def no(peer: Peer) -> None:
        await peer.say("554 5.7.1 not you")

    place = Place()
    async with ScriptedServer(no) as refusing, ScriptedServer(patient) as server:
        line = await place.open(
            Target("dead", "127.0.0.2", free_port()), at(refusing.port), Target("b", "127.0.0.1", server.port, 10)
        )
        assert line.usable
    assert [text.split()[4:6] for text in place.log.having("Connection Error")] == [
        ["IP:", "127.0.0.2"],
        ["IP:", "127.0.0.1"],
    ]
    assert [one["state"] for one in place.hosts.facts([""], [Target("dead", "127.0.0.2")])] == ["down"]


async def test_the_last_failure_is_what_the_queue_hears() -> None:
    async def no(peer: Peer) -> None:
        await peer.say("421 4.7.0 too many")

    place = Place()
    async with ScriptedServer(no) as server:
        with pytest.raises(Refused, match="421"):
            await place.open(at(server.port))
    with pytest.raises(NoDestination):
        await place.open()
    assert place.hosts.open("", "127.0.0.1") == 0


async def test_limits_for_each_address_leave_none_free() -> None:
    limits = Limits(connections=1, per_address=True)
    place = Place()
    async with ScriptedServer(patient) as server:
        line = await place.open(at(server.port), limits=limits)
        with pytest.raises(Busy, match="all 1 connections"):
            await place.open(at(server.port), limits=limits)
        with pytest.raises(Busy):
            await place.open(at(server.port), limits=limits, gateway="news")
        own = Limits(connections=1, per_address=True, per_gateway=True)
        news = await place.open(at(server.port), limits=own, gateway="news")
        await line.close()
        await news.close()
        await place.open(at(server.port), limits=limits)


async def test_a_peer_that_broke_the_protocol_is_spoken_to_simply_afterwards() -> None:
    async def twice(peer: Peer) -> None:
        await peer.opening("PIPELINING", "CHUNKING")
        await peer.hear("MAIL", "RCPT")
        await peer.say("250 2.1.0 ok", "250 2.1.0 ok", "250 2.1.5 ok")
        await peer.end()

    async def plain(peer: Peer) -> None:
        await peer.opening("PIPELINING", "CHUNKING")
        for command in ("MAIL", "RCPT"):
            await peer.hear(command)
            await peer.say("250 2.1.0 ok")
        await peer.hear("DATA")
        await peer.say("354 go")
        await peer.content()
        await peer.say("250 2.0.0 ok")

    place = Place()
    async with ScriptedServer(twice, plain) as server:
        (result,) = await (await place.open(at(server.port))).send(job(b"A: b\r\n\r\n"))
        assert (result.kind, result.enhanced) == ("soft", "4.5.0")
        (result,) = await (await place.open(at(server.port))).send(job(b"A: b\r\n\r\n"))
        assert result.kind == "delivered"


async def test_a_search_that_is_cancelled_leaves_no_count() -> None:
    async def silent(peer: Peer) -> None:
        await peer.end()

    place = Place()
    async with ScriptedServer(silent) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await place.open(at(server.port))
    assert place.hosts.open("", "127.0.0.1") == 0
