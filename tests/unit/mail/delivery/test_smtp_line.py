"""`mail.delivery.smtp_line`: what replies, and the want of them, mean for each recipient."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from core.record import Recipient
from core.smtp.client import connect
from core.smtp.client_settings import ConnectionSettings, Timeouts
from core.smtp.target import Target
from mail.delivery.courier import Result
from mail.delivery.smtp_line import ORDINARY, Handling, SmtpLine
from protocol.smtp.client_settings import ClientSettings
from protocol.smtp.failure import ClientFailure
from tests.support.queue_machine import FakeLog
from tests.support.scripted_server import Peer, Script, ScriptedServer
from tests.unit.mail.delivery.test_carriage import job

PATIENT = Timeouts(envelope_s=30, data_s=30, content_s=30, final_s=30, reset_s=30)
IMPATIENT = Timeouts(envelope_s=0.3, data_s=0.3, content_s=0.3, final_s=0.3, reset_s=0.3)


@asynccontextmanager
async def line(
    script: Script,
    log: FakeLog,
    handling: Handling = ORDINARY,
    broken: list[ClientFailure] | None = None,
    times: Timeouts = PATIENT,
) -> AsyncIterator[SmtpLine]:
    async with ScriptedServer(script) as server:
        settings = ConnectionSettings(ClientSettings("esa.test"), times)
        connection = await connect(Target("mx.test", "127.0.0.1", server.port), settings)
        found: list[ClientFailure] = [] if broken is None else broken
        yield SmtpLine(connection, 5, log, handling, broken=found.append)
        connection.abort()


def rows(*names: str) -> list[Recipient]:
    return [Recipient(rid, f"{name}@x.test") for rid, name in enumerate(names)]


def told(results: Sequence[Result]) -> list[tuple[int, str, int]]:
    return [(one.rid, one.kind, one.code) for one in results]


async def test_recipients_over_the_peers_limit_go_at_once_in_the_next_transaction() -> None:
    """452 4.5.3 counted as a soft bounce, so that a list waited a minute for every hundred of its members."""
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        heard.extend(await peer.hear("MAIL", "RCPT", "RCPT", "RCPT", "RCPT", "DATA"))
        await peer.say("250 ok", "250 ok", "550 5.1.1 no", "452 4.5.3 too many", "452 4.5.3 too many", "354 go")
        await peer.content()
        await peer.say("250 one")
        heard.extend(await peer.hear("MAIL", "RCPT", "RCPT", "DATA"))
        await peer.say("250 ok", "250 ok", "552 too many recipients", "354 go")
        await peer.content()
        await peer.say("250 two")
        await peer.accept(final="250 three")

    async with line(script, FakeLog()) as one:
        results = await one.send(job(b"A: b\r\n\r\n", *rows("b", "c", "d", "e")))
        assert told(results) == [
            (0, "delivered", 250),
            (1, "hard", 550),
            (2, "delivered", 250),
            (3, "delivered", 250),
        ]
        assert [result.text for result in results] == ["one", "no", "two", "three"]


async def test_a_full_mailbox_is_not_a_limit_of_recipients() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.hear("MAIL", "RCPT", "RCPT", "DATA")
        await peer.say("250 ok", "250 ok", "452 4.2.2 mailbox full", "354 go")
        await peer.content()
        await peer.say("250 ok")

    async with line(script, FakeLog()) as one:
        assert told(await one.send(job(b"A: b\r\n\r\n", *rows("b", "c")))) == [(0, "delivered", 250), (1, "soft", 452)]


async def test_nobody_accepted_is_no_reason_to_try_again_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.hear("MAIL", "RCPT", "RCPT", "DATA")
        await peer.say("250 ok", "452 4.5.3 no", "452 4.5.3 no", "503 no")
        await peer.hear("RSET")
        await peer.say("250 ok")

    async with line(script, FakeLog()) as one:
        assert told(await one.send(job(b"A: b\r\n\r\n", *rows("b", "c")))) == [(0, "soft", 452), (1, "soft", 452)]
        assert one.usable


async def test_a_peer_that_breaks_the_protocol_is_logged_with_what_was_expected() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.hear("MAIL", "RCPT", "DATA")
        await peer.say("250 ok", "250 ok", "250 \x1b[31mfine", "354 go")

    log, broken = FakeLog(), list[ClientFailure]()
    async with line(script, log, broken=broken) as one:
        (result,) = await one.send(job(b"A: b\r\n\r\n"))
        assert (result.kind, result.code, result.enhanced) == ("soft", 0, "4.5.0")
        assert not one.usable
    (text,) = log.having("Connection Error: DCID: 5 IP: 127.0.0.1 details:")
    assert "answered 250 \\x1b[31mfine, where a reply to DATA was due" in text
    assert "interface: 127.0.0.1 reason: the peer (DATA)" in text
    assert len(broken) == 1


STEPS = ["MAIL", "RCPT", "DATA"]


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("way", ["close", "reset", "stall", "421", "twice", "megabytes", "endless", "garbage"])
async def test_whatever_a_peer_does_in_the_envelope_the_recipient_is_tried_again(step: int, way: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.opening()
        for name in STEPS[:step]:
            await peer.hear(name)
            await peer.say("250 ok")
        await peer.hear(STEPS[step])
        await misbehave(peer, way)

    log = FakeLog()
    times = IMPATIENT if way == "stall" else PATIENT
    async with line(script, log, times=times) as one, asyncio.timeout(30):
        (result,) = await one.send(job(b"A: b\r\n\r\n"))
        assert result.kind == "soft"
        assert not one.usable
    assert len(log.having("Connection Error: DCID: 5")) == (way != "421")  # that one is the peer's word


@pytest.mark.parametrize("way", ["close", "reset", "stall", "421", "megabytes", "endless", "garbage"])
@pytest.mark.parametrize("possible", [False, True])
async def test_whatever_a_peer_does_instead_of_taking_the_content(way: str, possible: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.accept(final="")
        await misbehave(peer, way)

    log = FakeLog()
    times = replace(PATIENT, final_s=0.3) if way == "stall" else PATIENT
    async with line(script, log, Handling(possible_delivery=possible), times=times) as one, asyncio.timeout(30):
        (result,) = await one.send(job(b"A: b\r\n\r\n"))
    silent = possible and way in ("close", "reset", "stall")
    assert result.kind == ("delivered" if silent else "soft")
    assert log.having("Possible Delivery: DCID: 5 MID 7 to [0]") == (
        ["Possible Delivery: DCID: 5 MID 7 to [0]"] if silent else []
    )


async def misbehave(peer: Peer, way: str) -> None:
    if way == "close":
        return
    if way == "reset":
        peer.reset()
    elif way == "stall":
        await peer.end()
    elif way == "421":
        await peer.say("421 4.3.2 going down")
        await peer.end()
    elif way == "twice":
        await peer.say("250 ok", "354 go", "250 ok", "250 ok")
        await peer.end()
    elif way == "garbage":
        await peer.send(b"\0\xff\n")
    else:
        await flood(peer, b"250-x\r\n" * 1000 if way == "megabytes" else b"2" * 7000)


async def flood(peer: Peer, data: bytes) -> None:
    """Send up to 20 MB; a client that keeps it all would have closed by then."""
    for _ in range(3000):
        await peer.send(data)


async def test_one_octet_now_and_then_does_not_put_off_the_time_out() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening()
        await peer.hear("MAIL")
        for octet in b"250 2.1.0 this takes " + b"a " * 250:
            await peer.send(bytes([octet]))
            await asyncio.sleep(0.1)

    log = FakeLog()
    async with line(script, log, times=IMPATIENT) as one, asyncio.timeout(30):
        (result,) = await one.send(job(b"A: b\r\n\r\n"))
    assert (result.kind, result.enhanced) == ("soft", "4.4.2")


async def test_a_message_over_the_peers_size_fails_before_it_is_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING", "SIZE 5")
        assert await peer.end() == b""

    async with line(script, FakeLog()) as one:
        (result,) = await one.send(job(b"A: b\r\n\r\n"))
        assert (result.kind, result.code, result.enhanced) == ("hard", 552, "5.3.4")


async def test_only_the_recipient_that_needs_smtputf8_fails_where_it_is_not_offered() -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING")
        await peer.accept()

    async with line(script, FakeLog()) as one:
        results = await one.send(job(b"A: b\r\n\r\n", *rows("b", "\u00fc"), smtputf8=True))
        assert [(result.kind, result.enhanced) for result in results] == [("delivered", "2.0.0"), ("hard", "5.6.7")]


@pytest.mark.parametrize("offer", ["DSN", "HELP"])
async def test_a_result_says_whether_the_peer_took_over_to_report(offer: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING", offer)
        (rcpt,) = (await peer.hear("MAIL", "RCPT", "DATA"))[1:2]
        assert (b"NOTIFY=SUCCESS" in rcpt) == (offer == "DSN")
        await peer.say("250 ok", "250 ok", "354 go")
        await peer.content()
        await peer.say("250 ok")

    async with line(script, FakeLog()) as one:
        (result,) = await one.send(job(b"A: b\r\n\r\n", Recipient(0, "b@x.test", notify="SUCCESS")))
        assert result.dsn is (offer == "DSN")


async def test_content_is_chunked_where_the_peer_offers_it() -> None:
    got = []

    async def script(peer: Peer) -> None:
        await peer.opening("PIPELINING", "CHUNKING")
        for number in range(2):
            await peer.hear("MAIL", "RCPT")
            if not number:
                await peer.say("250 2.1.0 ok", "250 2.1.5 ok")
            (command,) = await peer.hear("BDAT")
            got.append(await peer.octets(int(command.split()[1])))
            await peer.say(*(["250 2.1.0 ok", "250 2.1.5 ok"] if number else []), "250 2.0.0 taken")

    async with line(script, FakeLog()) as one:
        for _ in range(2):
            assert told(await one.send(job(b"A: b\r\n\r\n.\r\n"))) == [(0, "delivered", 250)]
    assert got == [b"A: b\r\n\r\n.\r\n"] * 2
