"""Hosts that break the protocol in every way, against the real delivery-queue: the recipient is retried, not lost.

For each stage of a transaction and each way to go wrong there, a host does that on its first connection and is
well-behaved on the next. The mail must arrive there, the sender must not be told of a failure, the rest of the queue
must not notice, and the mail log has one line with the DCID, what was heard and what was expected.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.integration.test_delivery_tables import Gateway
from tests.support.lab import short_folder
from tests.support.long import either
from tests.support.scripted_server import Peer, ScriptedServer
from tests.support.waiting import until

SETTINGS = """
[delivery]
idle_close_s = 0
greeting_timeout_s = 4
command_timeout_s = 4
final_timeout_s = 4

[[bounce_profile]]
name = "Default"
initial_retry_s = 1
max_retry_s = 2
"""
STAGES = {
    "banner": "220 mx.test ESMTP",
    "EHLO": "250-mx.test\r\n250 PIPELINING",
    "MAIL": "250 2.1.0 ok",
    "RCPT": "250 2.1.5 ok",
    "DATA": "354 go",
    "content": "250 2.0.0 kept",
}
WRONGS = ("421", "stall", "close", "twice", "late", "megabytes", "endless", "garbage", "other code")
SLOW = [("DATA", "stall"), ("DATA", "late")]
"""The wait for 354 is two minutes, as RFC 5321 4.5.3.2.4 wants it, and cannot be set."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(240, 600))]


class Sink:
    """One host: wrong at a stage of its first connection, right afterwards."""

    def __init__(self, stage: str, wrong: str) -> None:
        self.stage, self.wrong = stage, wrong
        self.kept = 0

    async def first(self, peer: Peer) -> None:
        with contextlib.suppress(AssertionError):  # the queue may well go away in the middle
            await self._converse(peer, self.stage)

    async def then(self, peer: Peer) -> None:
        await self._converse(peer, "")

    async def _converse(self, peer: Peer, wrong_at: str) -> None:
        stages = list(STAGES)
        while True:
            for stage in stages:
                if not await self._heard(peer, stage):
                    return
                if stage == wrong_at:
                    await self._do_wrong(peer, STAGES[stage])
                    if self.wrong not in ("twice", "late"):
                        return
                else:
                    await peer.say(STAGES[stage])
                self.kept += stage == "content" and (stage != wrong_at or self.wrong == "twice")
            stages = ["MAIL", "RCPT", "DATA", "content"]

    async def _heard(self, peer: Peer, stage: str) -> bool:
        if stage == "content":
            await peer.content()
        elif stage != "banner":
            line = await peer.line()
            while line.startswith(b"RSET"):
                await peer.say("250 ok")
                line = await peer.line()
            if not line.startswith(stage.encode()):  # QUIT, or the end
                await peer.say("221 bye")
                return False
        return True

    async def _do_wrong(self, peer: Peer, right: str) -> None:
        """Say what is wrong; after all but a close wait for the queue to go away, or go on."""
        if self.wrong == "late":
            await asyncio.sleep(10 if self.stage != "DATA" else 125)
        if self.wrong in FLOODS:
            for _ in range(40):
                await peer.send(FLOODS[self.wrong])
        elif self.wrong in ("late", "twice"):
            await peer.say(*[right] * (1 + (self.wrong == "twice")))
            return
        elif self.wrong in SAID:
            await peer.send(SAID[self.wrong])
        if self.wrong != "close":
            await peer.end()


FLOODS = {"megabytes": b"250-and so on and so on and so on\r\n" * 4000, "endless": b"2" * 100_000}
SAID = {
    "421": b"421 4.3.2 not now\r\n",
    "garbage": b"\xff\xfe\x00\x1b[2J no reply at all\r\n",
    "other code": b"299 what now\r\n",
}
CASES = [
    Sink(stage, wrong)
    for stage in STAGES
    for wrong in WRONGS
    if (stage, wrong) not in either(SLOW, [])
    # any 2yz is a success where no other reply is due; a 220 twice is found out as an answer to EHLO
    and not (wrong == "other code" and stage in ("banner", "EHLO", "MAIL", "RCPT", "content"))
]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    with short_folder() as folder:
        one = Gateway(Path(folder) / "esa")
        yield one
        await one.kill()


def name(sink: Sink) -> str:
    return f"{sink.stage}-{sink.wrong.replace(' ', '-')}.test".lower()


async def test_whatever_a_host_does_its_mail_is_tried_again_and_arrives(gateway: Gateway) -> None:
    async with AsyncExitStack() as stack:
        routes, ports = "", {}
        for sink in CASES:
            server = await stack.enter_async_context(ScriptedServer(sink.first, sink.then))
            routes += f'[[route]]\ndomain = "{name(sink)}"\nhosts = ["127.0.0.1:{server.port}"]\n'
            ports[name(sink)] = server.port
        gateway.configure(SETTINGS + routes)
        await gateway.start()
        for sink in CASES:
            await gateway.send(f"a@{name(sink)}")

        def missing() -> list[str]:
            return [name(sink) for sink in CASES if not sink.kept]

        def unexplained() -> list[str]:
            log = gateway.log()
            return [name(sink) for sink in CASES if not explained(sink, log, ports[name(sink)])]

        await until(lambda: not missing(), lambda: f"{missing()} have their mail", within_s=either(90, 200))
        await until(lambda: not unexplained(), lambda: f"{unexplained()} are explained:\n{gateway.log()}")
        await asyncio.sleep(1.5)
        log = gateway.log()
    assert [name(sink) for sink in CASES if sink.kept > 1] == [], "delivered twice to a host that answered once"
    assert "Bounced" not in log
    assert [name(sink) for sink in CASES if not explained(sink, log, ports[name(sink)])] == []


def explained(sink: Sink, log: str, port: int) -> bool:
    """Tell whether exactly one line says what was heard, and where more than silence was heard, what was expected."""
    told = {
        "421": r"'421', \['not now|answered 421 4\.3\.2 not now",
        "stall": "timeout: nothing for",
        "late": "timeout: nothing for",
        "close": "EOF",
        "twice": "where nothing was due",
        "megabytes": "reply with too many lines, where a reply to .* was due",
        "endless": "reply line too long, where a reply to .* was due",
        "garbage": "reply line with a bare CR or NUL, where a reply to .* was due",
        "other code": "answered 299 what now, where a reply to DATA was due",
    }[sink.wrong]
    if (sink.stage, sink.wrong) == ("content", "twice"):
        connections = re.findall(rf"New SMTP DCID (\d+) .* port {port}$", log, re.MULTILINE)
        return bool(connections) and not any(f"Delayed: DCID {number} " in log for number in connections)
    if sink.stage in ("banner", "EHLO"):
        stage = {"banner": "(greeting|EHLO)", "EHLO": "(EHLO|idle)"}[sink.stage]
        return len(re.findall(rf"Connection Error: DCID: \d+ IP: [\d.]+ details: .*({told}).*\({stage}\)", log)) >= 1
    dcids = re.findall(rf"New SMTP DCID (\d+) .* port {port}\n", log)
    return bool(dcids) and len(re.findall(rf"Delayed: DCID {dcids[0]} .*({told})", log)) == 1


class Stripped:
    """Offers STARTTLS and goes on in the clear after 220, as an attacker would who cannot do the handshake."""

    def __init__(self, after: bytes) -> None:
        self.after = after
        self.well = Sink("never", "")

    async def first(self, peer: Peer) -> None:
        await peer.opening("PIPELINING", "STARTTLS")
        with contextlib.suppress(AssertionError):
            await peer.hear("STARTTLS")
            await peer.send(b"220 go\r\n" + self.after)
            heard = await peer.end()
            assert b"MAIL" not in heard, "mail went over a connection that was tampered with"


async def test_garbage_instead_of_a_handshake_carries_no_mail_and_loses_none(gateway: Gateway) -> None:
    sinks = [Stripped(after) for after in (b"250 fake\r\n", b"\x15\x03\x01 nonsense" * 100, b"\0" * 100_000)]
    async with AsyncExitStack() as stack:
        routes = ""
        for number, sink in enumerate(sinks):
            server = await stack.enter_async_context(ScriptedServer(sink.first, sink.well.then))
            routes += f'[[route]]\ndomain = "d{number}.test"\nhosts = ["127.0.0.1:{server.port}"]\n'
        gateway.configure(SETTINGS + '[[destination]]\ndomain = "DEFAULT"\ntls = "preferred"\n' + routes)
        await gateway.start()
        for number in range(len(sinks)):
            await gateway.send(f"a@d{number}.test")
        kept = lambda: [sink.well.kept for sink in sinks]  # noqa: E731
        await until(lambda: all(kept()), lambda: f"{kept()}\n{gateway.log()}", within_s=90)
        assert "Bounced" not in gateway.log()
