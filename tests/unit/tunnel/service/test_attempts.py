"""Counts of failed service logins: what closes which way, for how long, and what outlives a restart."""

from pathlib import Path

import pytest

from tunnel.seed.password import password, verifiers
from tunnel.service.attempts import GIVE_UP_AFTER, KEY, LOCK_S, LONGEST_LOCK_S, ORIGINS, PASSWORD, Attempts

CODE_KEY = bytes(range(32))


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


def attempts(path: Path, now: Clock) -> Attempts:
    made = Attempts(path / "service.json", now)
    made.begin("one")
    return made


async def fail(counted: Attempts, count: int, way: str = PASSWORD, origin: str = "eve") -> None:
    for _ in range(count):
        await counted.failed(way, origin)


async def test_the_fifth_failure_locks_and_each_further_five_for_twice_as_long(tmp_path: Path) -> None:
    now = Clock()
    counted = attempts(tmp_path, now)
    await fail(counted, 4)
    assert not counted.locked_until(PASSWORD, "eve")
    for times in range(3):
        await fail(counted, 1 if not times else 5)
        assert counted.locked_until(PASSWORD, "eve") == now.at + LOCK_S * 2**times
        now.at += LOCK_S * 2**times + 1
        assert not counted.locked_until(PASSWORD, "eve")


async def test_a_lock_is_never_longer_than_a_day(tmp_path: Path) -> None:
    now = Clock()
    counted = attempts(tmp_path, now)
    await fail(counted, 5 * 12, KEY)
    assert counted.locked_until(KEY, "eve") == now.at + LONGEST_LOCK_S


async def test_wrong_passwords_close_passwords_for_all_and_keys_for_nobody(tmp_path: Path) -> None:
    counted = attempts(tmp_path, Clock())
    await fail(counted, 5, PASSWORD, "eve")
    assert counted.locked_until(PASSWORD, "ana")
    assert not counted.locked_until(KEY, "eve")


async def test_wrong_keys_close_keys_for_their_own_origin_only(tmp_path: Path) -> None:
    counted = attempts(tmp_path, Clock())
    await fail(counted, 5, KEY, "eve")
    assert counted.locked_until(KEY, "eve")
    assert not counted.locked_until(KEY, "ana")
    assert not counted.locked_until(PASSWORD, "eve")


async def test_wrong_keys_of_nobody_in_particular_lock_nobody_and_are_counted(tmp_path: Path) -> None:
    counted = attempts(tmp_path, Clock())
    await fail(counted, 6, KEY, "")
    assert not counted.locked_until(KEY, "")
    assert counted.failures == 6


async def test_twenty_failures_give_up_for_this_activation_and_not_for_the_next(tmp_path: Path) -> None:
    counted = attempts(tmp_path, Clock())
    await fail(counted, GIVE_UP_AFTER // 2, PASSWORD, "eve")
    await fail(counted, GIVE_UP_AFTER // 2 - 1, KEY, "bob")
    assert not counted.given_up
    await fail(counted, 1, KEY, "ana")
    assert counted.given_up
    assert Attempts(tmp_path / "service.json").given_up
    counted.begin("two")
    assert (counted.given_up, counted.failures) == (False, 0)


async def test_a_clock_that_is_set_back_does_not_prolong_and_one_that_jumped_ahead_stays_seen(tmp_path: Path) -> None:
    now = Clock()
    counted = attempts(tmp_path, now)
    await fail(counted, 5)
    until_at = counted.locked_until(PASSWORD, "eve")
    now.at = until_at + 1
    assert not counted.locked_until(PASSWORD, "eve")
    now.at = 0.0
    assert not counted.locked_until(PASSWORD, "eve")
    await fail(counted, 5)
    assert counted.locked_until(PASSWORD, "eve") > until_at


async def test_origins_are_bounded_and_what_holds_for_all_is_kept(tmp_path: Path) -> None:
    counted = attempts(tmp_path, Clock())
    await fail(counted, 5, PASSWORD, "eve")
    for number in range(ORIGINS + 50):
        await counted.failed(KEY, f"origin {number}")
    assert len(counted._ledger.scopes) <= ORIGINS
    assert counted.locked_until(PASSWORD, "somebody")


async def test_passwords_are_taken_once_in_order_with_five_to_skip_and_the_count_is_on_disk(tmp_path: Path) -> None:
    counted, kept = attempts(tmp_path, Clock()), verifiers(CODE_KEY, 20)
    assert await counted.redeem(kept, password(CODE_KEY, 5)) == 6
    again = Attempts(tmp_path / "service.json")
    again.begin("one")
    for spent in range(6):
        assert await again.redeem(kept, password(CODE_KEY, spent)) == 0
    assert await again.redeem(kept, password(CODE_KEY, 12)) == 0, "too far ahead"
    assert await again.redeem(kept, password(CODE_KEY, 6)) == 7
    assert len(again.passwords_left(kept)) == 13


async def test_a_password_of_an_activation_that_ended_while_it_was_checked_is_not_taken(tmp_path: Path) -> None:
    counted, kept = attempts(tmp_path, Clock()), verifiers(CODE_KEY, 5)
    redeeming = counted.redeem(kept, password(CODE_KEY, 0))
    redeeming.send(None)  # the check is in its thread
    counted.begin("two")
    redeeming.close()
    assert counted.passwords_left(kept) == kept


def test_a_file_that_cannot_be_read_closes_the_activation_and_not_the_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "service.json").write_text('{"given_up": "perhaps"}')
    counted = attempts(tmp_path, Clock())
    assert counted.given_up
    counted.begin("one")
    assert counted.given_up
    counted.begin("two")
    assert not counted.given_up
    assert "enabled anew" in capfd.readouterr().err
