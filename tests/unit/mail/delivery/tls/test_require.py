"""`mail.delivery.tls.require`: messages that ask for REQUIRETLS, and those that say `TLS-Required: No`."""

import itertools
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from core.smtp.client import connect
from core.smtp.client_settings import NO_TLS, ConnectionSettings, Timeouts, TlsSettings
from core.smtp.target import Target
from mail.delivery.courier import Result
from mail.delivery.host import HostTable
from mail.delivery.limit import Limits
from mail.delivery.opening import Desk
from mail.delivery.pool import Pool
from mail.delivery.resolve import Resolution
from mail.delivery.security import HostUnusable, SecurityPlan, Wish
from mail.delivery.smtp_line import ORDINARY, SmtpLine
from mail.delivery.tls.require import ExceptedLine, Origin, RequireTls
from protocol.smtp.client_settings import ClientSettings, TlsUse
from tests.support.authority import Authority, server_context
from tests.support.ports import free_port
from tests.support.queue_machine import FakeLog
from tests.support.scripted_server import Peer, Script, ScriptedServer
from tests.support.waiting import until
from tests.unit.mail.delivery.test_carriage import job

SETTINGS = ConnectionSettings(ClientSettings("esa.test"), Timeouts(connect_s=2))
CONTEXT = server_context(*Authority("root").host("mx.x.test"))
CONTENT = b"A: b\r\n\r\nhi\r\n"
VERIFIED = TlsSettings(TlsUse.REQUIRED, identity="verified")


def host(*offers: str, context: ssl.SSLContext | None = CONTEXT, mails: list[bytes] | None = None) -> Script:
    """Make a host that takes one message, under TLS if it has a context."""

    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING", *(["STARTTLS"] if context is not None else []))
        if context is not None:
            if await peer.line() != b"STARTTLS\r\n":
                return
            await peer.say("220 go")
            await peer.start_tls(context)
            if not (await peer.line()).startswith(b"EHLO"):
                return
            names = ["mx.test", "PIPELINING", *offers]
            await peer.say(*[f"250-{name}" for name in names[:-1]], f"250 {names[-1]}")
        mail = await peer.line()
        if not mail.startswith(b"MAIL"):
            return
        if mails is not None:
            mails.append(mail)
        await peer.hear("RCPT", "DATA")
        await peer.say("250 ok", "250 ok", "354 go")
        await peer.content()
        await peer.say("250 2.0.0 taken")
        await peer.hear("QUIT")
        await peer.say("221 bye")

    return script


class Plans:
    """What protects each host, by name; notes what came of it."""

    def __init__(self, hosts: Mapping[str, TlsSettings | HostUnusable], problem: HostUnusable | None = None) -> None:
        self.hosts = hosts
        self.problem = problem
        self.concluded_: list[tuple[str, str]] = []

    async def plan(self, domain: str, resolution: Resolution, wish: Wish = "") -> SecurityPlan:
        assert (domain, wish) == ("x.test", "yes")
        if self.problem is not None:
            raise self.problem
        return self

    def settings(self, target: Target) -> TlsSettings:
        found = self.hosts[target.host]
        if isinstance(found, HostUnusable):
            raise found
        return found

    def concluded(self, target: Target, connection: Any, failure: Any) -> str:
        self.concluded_.append((target.host, "connected" if connection else type(failure).__name__))
        return "TLS verified by authority" if connection else ""


def desk(hosts: HostTable | None = None, log: FakeLog | None = None, first: int = 1) -> Desk:
    hosts = hosts or HostTable(time.monotonic, time.time)
    return Desk(hosts, Pool(), itertools.count(first).__next__, log or FakeLog(), ORDINARY)


async def carry(plans: Plans, *targets: Target, log: FakeLog | None = None) -> Sequence[Result]:
    one = RequireTls(plans, desk(log=log or FakeLog()))
    groups = tuple(((target,),) for target in targets)
    return await one.send(job(CONTENT, require_tls="yes"), "x.test", Resolution(groups, 300), Origin(SETTINGS))


def at(server: ScriptedServer, name: str = "mx1") -> Target:
    return Target(name, "127.0.0.1", server.port, 10)


async def test_a_verified_host_that_offers_it_gets_the_message_and_the_demand() -> None:
    mails: list[bytes] = []
    plans, log = Plans({"mx1": VERIFIED}), FakeLog()
    async with ScriptedServer(host("REQUIRETLS", mails=mails)) as server:
        (result,) = await carry(plans, at(server), log=log)
    assert (result.kind, result.code, result.text) == ("delivered", 250, "taken")
    assert mails[0].rstrip().endswith(b" REQUIRETLS")
    assert plans.concluded_ == [("mx1", "connected")]
    assert log.having("DCID 1 TLS verified by authority (REQUIRETLS)")
    assert log.having("DCID 1 close")


async def test_the_next_host_is_asked_where_the_first_is_not_fit() -> None:
    plans, log = Plans({"mx1": VERIFIED, "mx2": VERIFIED}), FakeLog()
    async with ScriptedServer(host("X-OTHER")) as first, ScriptedServer(host("REQUIRETLS")) as second:
        (result,) = await carry(plans, at(first), at(second, "mx2"), log=log)
    assert result.kind == "delivered"
    assert log.having("DCID 1 IP 127.0.0.1 REQUIRETLS failed: not offered")


UNCLEAR = HostUnusable("the TLSA records cannot be looked up", kind="dnssec-invalid")
ELSEWHERE = HostUnusable("the policy does not name mx1")


@pytest.mark.parametrize(
    ("settings", "script", "expected"),
    [
        (VERIFIED, host("X-OTHER"), ("hard", 550, "5.7.30", "mx1 does not offer REQUIRETLS")),
        (VERIFIED, host(context=None), ("hard", 550, "5.7.30", "does not offer STARTTLS")),
        (ELSEWHERE, host(), ("hard", 550, "5.7.30", "the policy does not name mx1")),
        (UNCLEAR, host(), ("soft", 0, "4.4.1", "cannot be looked up")),
    ],
)
async def test_what_becomes_of_it_where_no_host_will_do(settings: Any, script: Script, expected: Any) -> None:
    async with ScriptedServer(script) as server:
        (result,) = await carry(Plans({"mx1": settings}), at(server))
    assert (result.kind, result.code, result.enhanced) == expected[:3]
    assert expected[3] in result.text


async def test_it_waits_while_one_host_cannot_be_reached() -> None:
    plans = Plans({"mx1": VERIFIED, "mx2": VERIFIED})
    async with ScriptedServer(host("X-OTHER")) as server:
        (result,) = await carry(plans, at(server), Target("mx2", "127.0.0.1", free_port(), 10))
    assert (result.kind, result.enhanced) == ("soft", "4.4.1")


async def test_it_waits_while_nobody_can_tell_what_protects_it() -> None:
    (result,) = await carry(Plans({}, HostUnusable("the MX has just changed")))
    assert (result.kind, result.code, result.enhanced) == ("soft", 451, "4.7.5")
    assert "just changed" in result.text


async def excepted(server: ScriptedServer, log: FakeLog) -> ExceptedLine:
    connection = await connect(at(server), SETTINGS, NO_TLS)
    return ExceptedLine(SmtpLine(connection, 5, log, ORDINARY))


async def test_an_excepted_line_carries_its_message_and_no_second_one() -> None:
    log = FakeLog()
    async with ScriptedServer(host(context=None)) as server:
        line = await excepted(server, log)
        assert (line.excepted, line.usable, line.dcid, line.remote_ip) == (True, True, 5, "127.0.0.1")
        (result,) = await line.send(job(CONTENT, require_tls="no"))
        assert (result.kind, line.usable) == ("delivered", False)
        await line.close()
    assert log.having("DCID 5 close")


@pytest.mark.parametrize("wish", ["", "yes"])
async def test_an_excepted_line_gives_back_what_the_policy_binds(wish: str) -> None:
    async with ScriptedServer(host(context=None)) as server:
        line = await excepted(server, FakeLog())
        (result,) = await line.send(job(CONTENT, require_tls=wish))
        assert (result.kind, line.usable) == ("returned", False)
        await line.close()


async def test_nobody_takes_an_excepted_line_over() -> None:
    async with ScriptedServer(host(context=None)) as server:
        under = SmtpLine(await connect(at(server), SETTINGS, NO_TLS), 5, FakeLog(), ORDINARY)
        line = ExceptedLine(under)
        line.lend(lambda: True)
        assert not under.recall()
        await line.close()


async def broken_off(peer: Peer) -> None:
    """Offer STARTTLS and leave in the middle of the handshake."""
    await peer.opening("PIPELINING", "STARTTLS")
    await peer.hear("STARTTLS")
    await peer.say("220 go")


async def not_now(peer: Peer) -> None:
    """Offer STARTTLS and have no TLS at the moment (RFC 3207 4)."""
    await peer.opening("PIPELINING", "STARTTLS")
    await peer.hear("STARTTLS")
    await peer.say("454 4.7.0 TLS not available due to temporary reason")


@pytest.mark.parametrize("script", [broken_off, not_now])
async def test_a_handshake_that_only_fails_today_does_not_bounce_the_message(script: Script) -> None:
    async with ScriptedServer(script) as server:
        (result,) = await carry(Plans({"mx1": VERIFIED}), at(server))
    assert (result.kind, result.enhanced) == ("soft", "4.4.1")


async def test_the_watchdog_sees_the_connection_that_really_carries_the_message() -> None:
    seen: list[SmtpLine] = []

    async def strictly(job_: Any, carried_by: Any) -> Sequence[Result]:
        one = RequireTls(Plans({"mx1": VERIFIED}), desk(first=2))

        def note(line: SmtpLine) -> None:
            seen.append(line)
            carried_by(line)
            assert shared.moved_at_s == line.moved_at_s > before

        resolution = Resolution((((at(server),),),), 300)
        return await one.send(job_, "x.test", resolution, Origin(SETTINGS), carried_by=note)

    async with ScriptedServer(host(context=None)) as idle, ScriptedServer(host("REQUIRETLS")) as server:
        shared = SmtpLine(await connect(at(idle), SETTINGS, NO_TLS), 1, FakeLog(), ORDINARY)
        before = shared.moved_at_s
        shared.strictly = strictly
        (result,) = await shared.send(job(CONTENT, require_tls="yes"))
        assert (result.kind, len(seen)) == ("delivered", 1)
        assert not shared.usable


async def test_its_connection_takes_the_place_of_the_one_that_it_was_taken_for() -> None:
    open_at_once: list[int] = []
    hosts, log = HostTable(time.monotonic, time.time), FakeLog()
    limits = Limits(connections=1, per_address=True)

    async def strictly(job_: Any, carried_by: Any) -> Sequence[Result]:
        one = RequireTls(Plans({"mx1": VERIFIED}), desk(hosts, log, 2))

        def note(line: SmtpLine) -> None:
            open_at_once.append(hosts.open("", "127.0.0.1"))
            carried_by(line)

        resolution = Resolution((((at(server),),),), 300)
        return await one.send(job_, "x.test", resolution, Origin(SETTINGS, "", limits), carried_by=note)

    async with ScriptedServer(host(context=None)) as idle, ScriptedServer(host("REQUIRETLS")) as server:
        connection = await connect(at(idle), SETTINGS, NO_TLS)
        hosts.begin("", "127.0.0.1")
        connection.when_lost(lambda: hosts.end("", "127.0.0.1"))
        shared = SmtpLine(connection, 1, log, ORDINARY)
        shared.strictly = strictly
        (result,) = await shared.send(job(CONTENT, require_tls="yes"))
        await shared.close()
    assert (result.kind, open_at_once, hosts.open("", "127.0.0.1")) == ("delivered", [1], 0)
    assert len(log.having("DCID 1 close")) == len(log.having("DCID 2 close")) == 1


async def test_it_waits_where_an_address_has_all_its_connections() -> None:
    hosts = HostTable(time.monotonic, time.time)
    hosts.begin("", "127.0.0.1")
    one = RequireTls(Plans({"mx1": VERIFIED}), desk(hosts))
    origin = Origin(SETTINGS, "", Limits(connections=1, per_address=True))
    resolution = Resolution((((Target("mx1", "127.0.0.1", 9, 10),),),), 300)
    (result,) = await one.send(job(CONTENT, require_tls="yes"), "x.test", resolution, origin)
    assert (result.kind, result.code, result.enhanced) == ("soft", 451, "4.4.5")
    assert "all 1 connections that 127.0.0.1 may have are open" in result.text


@pytest.mark.parametrize("script", [host("X-OTHER"), broken_off])
async def test_a_connection_that_comes_to_nothing_is_counted_no_longer(script: Script) -> None:
    hosts = HostTable(time.monotonic, time.time)
    async with ScriptedServer(script) as server:
        one = RequireTls(Plans({"mx1": VERIFIED}), desk(hosts))
        await one.send(
            job(CONTENT, require_tls="yes"), "x.test", Resolution((((at(server),),),), 300), Origin(SETTINGS)
        )
        await until(lambda: not hosts.open("", "127.0.0.1"))
