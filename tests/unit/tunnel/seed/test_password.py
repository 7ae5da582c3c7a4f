"""tunnel.seed.password: each password once, a few may be skipped, what the appliance keeps gives none away."""

import base64
import hashlib
import hmac

import pytest

from tunnel.seed.password import COUNT, LOOK_AHEAD, accept, password, shown, verifiers

KEY = bytes(range(32))


def _sixteen(number: int) -> str:
    digest = hmac.new(KEY, b"pw" + number.to_bytes(4, "big"), hashlib.sha256).digest()
    return base64.b32encode(digest)[:16].decode()


def test_passwords_are_those_of_the_description() -> None:
    assert [password(KEY, n) for n in range(60)] == [_sixteen(n) for n in range(60)]
    assert len({password(KEY, n) for n in range(1000)}) == 1000


def test_a_password_is_taken_once_and_then_the_next() -> None:
    kept: tuple[str, ...] | None = verifiers(KEY, 3)
    for number in range(3):
        assert kept
        left = accept(kept, password(KEY, number))
        assert left is not None
        assert len(left) == len(kept) - 1
        assert accept(left, password(KEY, number)) is None
        kept = left
    assert kept == ()
    assert accept(kept, password(KEY, 3)) is None


def test_some_may_be_skipped_and_are_then_worth_nothing() -> None:
    kept = verifiers(KEY, 10)
    left = accept(kept, password(KEY, LOOK_AHEAD))
    assert left is not None
    assert len(left) == 10 - LOOK_AHEAD - 1
    assert all(accept(left, password(KEY, n)) is None for n in range(LOOK_AHEAD + 1))
    assert accept(kept, password(KEY, LOOK_AHEAD + 1)) is None


@pytest.mark.parametrize("form", [str.lower, shown, lambda text: f" {text}\n", lambda text: shown(text).lower()])
def test_how_it_is_typed_does_not_matter(form: object) -> None:
    assert callable(form)
    assert accept(verifiers(KEY, 1), form(password(KEY, 0))) == ()


@pytest.mark.parametrize("typed", ["", "A" * 16, "\u0130" * 20, "x" * 100_000])
def test_what_is_wrong_is_refused(typed: str) -> None:
    assert accept(verifiers(KEY, 2), typed) is None


def test_what_the_appliance_keeps_holds_neither_key_nor_password() -> None:
    kept = verifiers(KEY)
    assert len(kept) == COUNT
    assert all(password(KEY, n) not in "".join(kept) for n in range(COUNT))
    assert KEY.hex() not in "".join(kept)
    assert set(kept).isdisjoint(verifiers(KEY))
