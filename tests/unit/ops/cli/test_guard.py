"""`ops.cli.guard`: which log-ins go on under another configuration, and when a password is too old."""

from dataclasses import replace

import pytest

from core.ssh import make_key, public_text
from ops.cli.account import KEY, KEY_CODE, PASSWORD, Account, Role
from ops.cli.guard import Door

FIRST, SECOND = make_key("first"), make_key("second")
ANN = Account(
    "ann", Role.OPERATOR, (public_text(FIRST), public_text(SECOND)), ways=frozenset({KEY, PASSWORD}), password="x"
)
DAY = 86400.0


def door(*accounts: Account, **more: object) -> Door:
    return Door(lambda name: [one for one in accounts if one.name == name], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "by_key", "by_password"),
    [
        (ANN, True, True),
        (replace(ANN, password="y"), True, True),
        (replace(ANN, keys=(public_text(FIRST),)), True, True),
        (replace(ANN, keys=(public_text(SECOND),)), False, True),
        (replace(ANN, ways=frozenset({PASSWORD})), False, True),
        (replace(ANN, ways=frozenset({KEY_CODE})), False, False),
        (replace(ANN, password=""), True, False),
        (replace(ANN, role=Role.GUEST), False, False),
        (replace(ANN, commands=frozenset({"version"})), False, False),
        (replace(ANN, name="eve"), False, False),
    ],
)
def test_a_log_in_lasts_as_long_as_what_it_stands_on(now: Account, by_key: bool, by_password: bool) -> None:
    after = door(now)
    assert after.current(ANN, KEY, FIRST.public_data) is by_key
    assert after.current(ANN, PASSWORD, b"") is by_password


def test_a_password_is_changed_when_it_is_too_old_or_when_somebody_says_so() -> None:
    by_age = door(password_age_s=90 * DAY, now=lambda: 1000 * DAY)
    assert not by_age.outdated(replace(ANN, password_at=911 * DAY))
    assert by_age.outdated(replace(ANN, password_at=909 * DAY))
    assert not by_age.outdated(replace(ANN, password_at=0))
    assert not door(now=lambda: 1000 * DAY).outdated(replace(ANN, password_at=1 * DAY))
    assert door().outdated(replace(ANN, must_change=True))


def test_names_that_are_no_users_are_asked_for_a_code_or_not_but_always_alike() -> None:
    asked = [door(codes=True).pretends(f"user{number}") for number in range(200)]
    assert 50 < sum(asked) < 150
    assert asked == [door(codes=True).pretends(f"user{number}") for number in range(200)]
    assert not any(door().pretends(f"user{number}") for number in range(200))


def test_a_damaged_key_line_harms_only_itself() -> None:
    damaged = replace(ANN, keys=("ssh-ed25519", "", "ssh-ed25519 !!!", public_text(FIRST)))
    assert damaged.blobs == {FIRST.public_data}
