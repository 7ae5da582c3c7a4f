"""The test letter goes out step by step, against a real server, and a refusal is the last step."""

import pytest

from core.smtp_ping import Letter, Step, Way, smtp_ping
from tests.support.scripted_server import Peer, ScriptedServer

LETTER = Letter("a@esa.test", ("b@x.test", "c@x.test"), b"Subject: test\r\n\r\nhello\r\n")


async def _takes_all_but(peer: Peer, refused: str = "") -> None:
    await peer.say("220 mx.test ESMTP")
    while line := (await peer.line()).decode():
        verb = line.split()[0].upper()
        if refused and line.strip() == refused:
            await peer.say("550 5.1.1 no such user")
        elif verb == "EHLO":
            await peer.say("250-mx.test", "250 SIZE")
        elif verb == "DATA":
            await peer.say("354 go on")
            await peer.content()
            await peer.say("250 2.0.0 taken")
        elif verb == "QUIT":
            await peer.say("221 bye")
            return
        else:
            await peer.say("250 2.1.0 ok")


async def test_each_step_is_shown_with_its_time_as_it_is_done() -> None:
    shown: list[Step] = []
    async with ScriptedServer(_takes_all_but) as server:
        steps = await smtp_ping(Way("127.0.0.1", server.port, "esa.test"), LETTER, shown.append)
    assert shown == steps
    assert [(one.name, one.code) for one in steps] == [
        ("CONNECT", 220),
        ("EHLO", 250),
        ("MAIL FROM:<a@esa.test>", 250),
        ("RCPT TO:<b@x.test>", 250),
        ("RCPT TO:<c@x.test>", 250),
        ("DATA", 250),
        ("QUIT", 221),
    ]
    assert not any(one.failed for one in steps)
    assert all(one.took_ms >= 0 for one in steps)


async def test_a_refusal_is_the_last_step_with_what_the_host_said() -> None:
    async with ScriptedServer(lambda peer: _takes_all_but(peer, "RCPT TO:<c@x.test>")) as server:
        steps = await smtp_ping(Way("127.0.0.1", server.port, "esa.test"), LETTER, lambda step: None)
    assert (steps[-1].name, steps[-1].code, steps[-1].failed) == ("RCPT TO:<c@x.test>", 550, True)
    assert steps[-1].text == "5.1.1 no such user"


async def test_a_host_that_says_nothing_is_left_when_its_time_is_up() -> None:
    async def silent(peer: Peer) -> None:
        await peer.line()

    async with ScriptedServer(silent) as server:
        steps = await smtp_ping(Way("127.0.0.1", server.port, "esa.test", timeout_s=0.2), LETTER, lambda step: None)
    assert [one.name for one in steps] == ["CONNECT"]
    assert steps[0].failed


@pytest.mark.parametrize("port", [1])
async def test_a_port_where_nobody_listens_is_a_step_that_failed(port: int) -> None:
    steps = await smtp_ping(Way("127.0.0.1", port, "esa.test"), LETTER, lambda step: None)
    assert (len(steps), steps[0].failed) == (1, True)
    assert steps[0].text
