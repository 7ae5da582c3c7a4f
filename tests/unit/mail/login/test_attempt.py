"""Log-in through the whole session: what is offered, granted, refused, slowed down, logged."""

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.password import make_hash
from mail.login.attempt import Logins
from mail.login.config import SmtpLoginSection, SmtpUserSection
from mail.login.users import Users
from protocol.smtp.conversation import Peer
from tests.support.gateway import GatewayUnderTest, gateway
from tests.support.waiting import until
from tests.unit.mail.test_receive import MESSAGE, stored

JOE = SmtpUserSection(name="joe", password=make_hash("correct horse"))
OFFERED = {"policy": {"tls": "preferred", "auth": "offered"}}


def plain(user: str, password: str) -> str:
    return "AUTH PLAIN " + b64encode(f"\0{user}\0{password}".encode()).decode()


def serve(under_test: GatewayUnderTest, **login: Any) -> GatewayUnderTest:
    settings = SmtpLoginSection(**{"failure_delay_s": 0.0, **login})
    under_test.gateway.logins = Logins(Users((JOE,)), settings, under_test.log)
    return under_test


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GatewayUnderTest]:
    with gateway(tmp_path) as under_test:
        yield serve(under_test)


def logged(under_test: GatewayUnderTest) -> list[str]:
    return [line.removeprefix("Info: ") for line in under_test.lines() if "SMTP Auth" in line]


async def test_who_has_logged_in_may_relay_and_the_trace_says_so(server: GatewayUnderTest) -> None:
    client = server.connect(**OFFERED)
    assert "AUTH PLAIN LOGIN" in client.secure()
    assert client.say("MAIL FROM:<joe@example.test>", "RCPT TO:<x@elsewhere.example>")[1].startswith("550 5.1.0")
    client.say("RSET")
    assert await client.answered(plain("joe", "correct horse")) == "235 2.7.0 Authentication succeeded"
    assert client.say("MAIL FROM:<joe@example.test>", "RCPT TO:<x@elsewhere.example>")[1].startswith("250 ")
    assert (await client.deliver(MESSAGE)).startswith("250 2.0.0 ")
    ((accepted, _, _),) = stored(server)
    assert accepted.authenticated == "joe"
    assert accepted.protocol == "ESMTPSA"
    assert b"with ESMTPSA (TLSv1.3 " in accepted.trace
    assert logged(server) == [
        "SMTP Auth (ICID 1) succeeded for user: joe using AUTH mechanism: PLAIN with profile: local"
    ]


async def test_with_utf8_the_trace_says_both(server: GatewayUnderTest) -> None:
    client = server.connect(**OFFERED)
    client.secure()
    await client.answered(plain("joe", "correct horse"))
    client.say("MAIL FROM:<j\u00f6@example.test> SMTPUTF8", "RCPT TO:<b@example.test>")
    await client.deliver(MESSAGE)
    client.say("MAIL FROM:<joe@example.test>", "RCPT TO:<b@example.test>")
    await client.deliver(MESSAGE)
    assert [accepted.protocol for accepted, _, _ in stored(server)] == ["UTF8SMTPSA", "ESMTPSA"]


async def test_a_log_in_is_no_other_connections(server: GatewayUnderTest) -> None:
    """An address that has logged in once relays nothing on its next connection."""
    first, second = server.connect(**OFFERED), server.connect(**OFFERED)
    first.secure()
    second.secure()
    await first.answered(plain("joe", "correct horse"))
    for client in (second, server.connect(**OFFERED)):
        replies = client.say("EHLO client.example", "MAIL FROM:<joe@example.test>", "RCPT TO:<x@elsewhere.example>")
        assert replies[-1].startswith("550 5.1.0")


async def test_failures_end_the_connection_and_no_password_is_logged(server: GatewayUnderTest) -> None:
    client = server.connect(**OFFERED)
    client.secure()
    assert await client.answered(plain("joe", "wrong one")) == "535 5.7.8 Authentication credentials invalid"
    assert await client.answered(plain("no\x1bbody", "correct horse")) == "501 5.5.2 Response not understood"
    assert await client.answered(plain("nobody", "correct horse")) == "535 5.7.8 Authentication credentials invalid"
    assert (await client.answered(plain("joe", "wrong two"))).startswith("421 4.7.0 ")
    assert client.machine.closed
    assert logged(server) == [
        f"SMTP Auth (ICID 1) failed for user: {user} using AUTH mechanism: PLAIN with profile: local"
        for user in ("joe", "nobody", "joe")
    ]
    text = "\n".join(server.lines())
    assert not any(word in text for word in ("wrong", "horse", b64encode(b"\0joe\0wrong one").decode()[:16]))


async def test_a_refusal_waits(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = serve(under_test, failure_delay_s=0.1).connect(**OFFERED)
        client.secure()
        began = asyncio.get_running_loop().time()
        await client.answered(plain("joe", "wrong"))
        assert asyncio.get_running_loop().time() - began >= 0.1


async def test_too_many_failures_of_a_user_lock_it_from_everywhere(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        serve(under_test, max_user_failures=2, max_failures=20)
        client = under_test.connect(**OFFERED)
        client.secure()
        for _ in range(2):
            assert (await client.answered(plain("joe", "wrong"))).startswith("535 ")
        other = under_test.connect("198.51.100.7", **OFFERED)
        other.secure()
        assert (await other.answered(plain("joe", "correct horse"))).startswith("454 4.7.0 ")
        assert logged(under_test)[1:] == [
            "SMTP Auth (ICID 1) failed for user: joe using AUTH mechanism: PLAIN with profile: local, "
            "locked out from now on",
            "SMTP Auth (ICID 2) failed for user: joe using AUTH mechanism: PLAIN, this user is locked out",
        ]


async def test_guesses_in_flight_were_judged_although_one_of_them_had_locked_the_user(tmp_path: Path) -> None:
    """Of many at a time from many addresses, the last one with the right password was let in."""
    with gateway(tmp_path) as under_test:
        serve(under_test, max_user_failures=3, max_failures=20)
        clients = [under_test.connect(f"198.51.100.{n}", **OFFERED) for n in range(1, 8)]
        for client in clients:
            client.secure()
        guesses = ["wrong"] * 6 + ["correct horse"]
        replies = await asyncio.gather(
            *(client.answered(plain("joe", guess)) for client, guess in zip(clients, guesses, strict=True))
        )
        assert sorted(reply[:3] for reply in replies) == ["454"] * 4 + ["535"] * 3
        assert replies[-1].startswith("454 ")


async def test_guesses_in_flight_of_an_address_were_judged_although_it_was_locked(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        serve(under_test, max_source_failures=2, max_failures=20)
        clients = [under_test.connect(**OFFERED) for _ in range(5)]
        for client in clients:
            client.secure()
        guesses = [client.answered(plain(user, "wrong")) for client, user in zip(clients, "abcde", strict=True)]
        replies = await asyncio.gather(*guesses)
        # Passwords are checked on threads, which end in any order.
        assert sorted(reply[:3] for reply in replies) == ["454", "454", "454", "535", "535"]


async def test_too_many_failures_from_an_address_lock_it_for_every_user(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        serve(under_test, max_source_failures=2, max_failures=20)
        client = under_test.connect(**OFFERED)
        client.secure()
        for user in ("a", "b"):
            assert (await client.answered(plain(user, "wrong"))).startswith("535 ")
        assert (await client.answered(plain("joe", "correct horse"))).startswith("454 4.7.0 ")
        elsewhere = under_test.connect("198.51.100.7", **OFFERED)
        elsewhere.secure()
        assert (await elsewhere.answered(plain("joe", "correct horse"))).startswith("235 ")


async def test_each_group_is_offered_what_its_policy_says(server: GatewayUnderTest) -> None:
    groups = (
        {"name": "STAFF", "entries": ("192.0.2.",), "rule": "ACCEPT", "policy": {"auth": "required"}},
        {"name": "PLAIN", "entries": ("198.51.100.",), "rule": "ACCEPT", "policy": {"tls": "off"}},
    )
    section: dict[str, Any] = {"policy": {"tls": "preferred"}, "sender_group": groups}
    staff = server.connect("192.0.2.1", **section)
    assert "AUTH PLAIN LOGIN" in staff.secure()
    assert staff.say("MAIL FROM:<>")[0] == "530 5.7.0 #5.7.0 Authentication required"
    stranger = server.connect("203.0.113.1", **section)
    assert not any(line.startswith("AUTH") for line in stranger.secure())
    assert stranger.say(plain("joe", "correct horse"))[0].startswith("502 5.5.1 ")
    clear = server.connect("198.51.100.1", **section)
    assert not any("STARTTLS" in line for line in clear.say("EHLO client.example"))
    assert clear.say("STARTTLS")[0].startswith("502 5.5.1 ")
    assert logged(server) == ["SMTP Auth (ICID 1) was required but remote host did not initiate it"]


async def test_a_peer_that_leaves_while_its_password_is_checked_is_forgotten(server: GatewayUnderTest) -> None:
    client = server.connect(**OFFERED)
    client.secure()
    client.machine.receive((plain("joe", "correct horse") + "\r\n").encode())
    client.machine.disconnect("closed by the peer")
    await until(lambda: logged(server))
    assert client.machine.take() == b""


async def test_the_submission_listener_of_the_manual_takes_mail_from_users_only(server: GatewayUnderTest) -> None:
    section: dict[str, Any] = {
        "kind": "private",
        "rat": (),
        "default_rule": "ACCEPT",
        "policy": {"tls": "required", "auth": "required"},
    }
    client = server.connect(**section)
    assert client.say("EHLO client.example", "MAIL FROM:<joe@example.test>")[-1].startswith("530 5.7.0 ")
    client.secure()
    assert client.say("MAIL FROM:<joe@example.test>")[0] == "530 5.7.0 #5.7.0 Authentication required"
    await client.answered(plain("joe", "correct horse"))
    replies = client.say("MAIL FROM:<joe@example.test>", "RCPT TO:<x@elsewhere.example>")
    assert [reply[:3] for reply in replies] == ["250", "250"]


async def test_a_listed_proxy_may_say_who_has_logged_in_there(server: GatewayUnderTest) -> None:
    client = server.connect()
    client.session._said = Peer("192.0.2.9", 1, "127.0.0.1", 25, login="ann")
    client.say("EHLO client.example", "MAIL FROM:<ann@example.test>")
    assert client.say("RCPT TO:<x@elsewhere.example>")[0].startswith("250 ")
    await client.deliver(MESSAGE)
    ((accepted, _, _),) = stored(server)
    assert accepted.authenticated == "ann"
