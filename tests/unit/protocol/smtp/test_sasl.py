"""The mechanisms: forms, preparation of names and passwords, verifiers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.smtp.sasl import (
    Claim,
    Failure,
    Login,
    Malformed,
    Plain,
    Prompt,
    Scram,
    Verifier,
    make_verifier,
    parse_verifier,
    prepare,
)


@pytest.mark.parametrize(
    ("message", "step"),
    [
        (b"\0joe\0secret", Claim("joe", "secret")),
        (b"joe\0joe\0secret", Claim("joe", "secret")),
        (b"ann\0joe\0secret", Failure("joe")),
        ("\0j\u00f6\0p\u00e4ss".encode(), Claim("j\u00f6", "p\u00e4ss")),
        ("\0jo\u0308\0\u00aa".encode(), Claim("j\u00f6", "a")),
    ],
)
def test_plain(message: bytes, step: object) -> None:
    assert Plain().start(message) == step


@pytest.mark.parametrize(
    "message",
    [b"", b"joe", b"\0joe", b"\0\0secret", b"\0joe\0", b"\0joe\0a\0b", b"\0j\xf6\0p", b"\0" + b"a" * 256 + b"\0p"],
)
def test_plain_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        Plain().start(message)


def test_login_asks_for_name_and_password() -> None:
    login = Login()
    assert login.start(None) == Prompt(b"Username:")
    assert login.respond(b"joe") == Prompt(b"Password:")
    assert login.respond(b"secret") == Claim("joe", "secret")


def test_a_password_does_not_show_in_a_claim() -> None:
    assert "secret" not in repr(Claim("joe", "secret"))


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_the_examples_of_rfc_4013(text: str, prepared: str) -> None:
    assert prepare(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "a\u2028b", "\ue000", "\u200e"])
def test_what_no_name_may_hold(text: str) -> None:
    with pytest.raises(Malformed):
        prepare(text)


def test_a_verifier_survives_its_written_form() -> None:
    verifier = make_verifier("pencil", b"0123456789abcdef", 4096)
    assert parse_verifier(str(verifier)) == verifier
    assert make_verifier("pencil!", b"0123456789abcdef", 4096) != verifier


@pytest.mark.parametrize(
    "text", ["", "SCRAM-SHA-256$1:AAAAAAAAAAA=$x:y", "SCRAM-SHA-1$4096:a$b:c", "$argon2id$v=19$m=1,t=1,p=1$a$b"]
)
def test_what_is_no_verifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="verifier"):
        parse_verifier(text)


def test_escaped_names_are_looked_up_as_they_are_meant() -> None:
    asked = []

    def lookup(user: str) -> Verifier:
        asked.append(user)
        return Verifier(4096, b"salt", b"", b"")

    Scram(lookup, "x").start(b"n,,n=a=2Cb=3Dc,r=abc")
    assert asked == ["a,b=c"]


@given(st.lists(st.binary(max_size=60), max_size=5), st.sampled_from([Plain, Login, None]))
def test_nothing_that_a_peer_sends_proves_it(messages: list[bytes], kind: type | None) -> None:
    verifier = Verifier(4096, b"salt", b"k" * 32, b"s" * 32)
    exchange = kind() if kind else Scram(lambda _: verifier, "nonce")
    try:
        for number, message in enumerate(messages):
            step = exchange.respond(message) if number else exchange.start(message)
            assert isinstance(step, Prompt | Claim | Failure)
            if not isinstance(step, Prompt):
                break
    except Malformed:
        pass
