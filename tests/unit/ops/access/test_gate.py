"""`ops.access.gate`: who is let in, what a guess costs, and whom a lock keeps out."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.access import store
from ops.access.gate import WAITING, Gate, Terms, Verdict, code_digest, keys_of
from ops.access.record import Records
from ops.access.store import Attempt
from ops.cli.account import PASSWORD, Account, Role
from protocol import totp
from tests.support.access import Time, gate_in, stored
from tests.support.appliance import Audit

SECRET = totp.secret_text(b"12345678901234567890")
ANN = Account("ann", Role.OPERATOR, (), ways=frozenset({PASSWORD}), password=stored("plum tree lane"))
CODED = Account("ann", Role.OPERATOR, (), totp_secret=SECRET, recovery=frozenset({code_digest("abcd-efgh")}))


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def gate(tmp_path: Path, audit: Audit, time: Time) -> AsyncIterator[Gate]:
    async with gate_in(tmp_path, audit, time) as made:
        yield made


@pytest.fixture
def audit() -> Audit:
    return Audit()


def of(name: str = "ann", source: str = "192.0.2.7") -> Attempt:
    return Attempt(name, source, "cli", 1_795_314_062.0)


async def test_the_right_password_is_good_and_a_wrong_one_is_told_to_the_audit_log_only(
    gate: Gate, audit: Audit
) -> None:
    assert await gate.password(ANN, of(), "plum tree lane") is Verdict.GOOD
    assert audit.lines == []
    assert await gate.password(ANN, of(), "guess-1234") is Verdict.WRONG
    assert audit.lines == ["Access: cli log-in of ann from 192.0.2.7 refused: wrong password"]


async def test_a_name_that_is_no_users_is_checked_counted_and_locked_like_one(gate: Gate, audit: Audit) -> None:
    for _ in range(5):
        assert await gate.password(None, of("eve"), "guess-1234") is Verdict.WRONG
    assert "Access: address 192.0.2.7 is locked out for 60 s after too many failures" in audit.lines
    assert await gate.password(ANN, of(), "plum tree lane") is Verdict.LOCKED
    assert audit.lines[-1].endswith("this address is locked out for 60 s more; the password was not looked at")


async def test_an_account_without_a_password_is_let_in_by_none(gate: Gate) -> None:
    assert await gate.password(Account("ann", Role.GUEST, ()), of(), "") is Verdict.WRONG


async def test_locks_grow_and_end_and_outlive_the_daemon(tmp_path: Path, audit: Audit, time: Time) -> None:
    for expected in (60, 120, 240):
        async with gate_in(tmp_path, audit, time) as gate:
            for _ in range(5):
                await gate.password(None, of("eve"), "guess-1234")
            assert f"locked out for {expected} s after" in audit.lines[-1]
        async with gate_in(tmp_path, audit, time) as gate:
            assert await gate.password(ANN, of(), "plum tree lane") is Verdict.LOCKED
            time.now += expected + 1
            assert await gate.password(ANN, of(), "plum tree lane") is Verdict.GOOD


async def test_guesses_from_many_addresses_lock_the_user_but_not_where_the_user_has_been_before(
    gate: Gate, audit: Audit
) -> None:
    await gate.records.change(store.open_login, of("ann", "198.51.100.1"), PASSWORD)
    for number in range(15):
        assert await gate.password(ANN, of("ann", f"203.0.113.{number}"), "guess-1234") is Verdict.WRONG
    assert audit.lines[-1] == "Access: user ann is locked out for 60 s after too many failures"
    assert await gate.password(ANN, of("ann", "192.0.2.1"), "plum tree lane") is Verdict.LOCKED
    assert await gate.password(ANN, of("ann", "198.51.100.1"), "plum tree lane") is Verdict.GOOD
    assert await gate.records.change(store.unlock, keys_of("ann")) == ["user/ann"]
    assert await gate.password(ANN, of("ann", "192.0.2.1"), "plum tree lane") is Verdict.GOOD


async def test_a_code_counts_once_and_an_older_one_never_after_it(gate: Gate, time: Time) -> None:
    step = int(time.now // 30)
    now, before = (totp.code(totp.secret_octets(SECRET), one) for one in (step, step - 1))
    assert await gate.code(CODED, of(), now, "key+totp") is Verdict.GOOD
    assert await gate.code(CODED, of(), now, "key+totp") is Verdict.WRONG
    assert await gate.code(CODED, of(), before, "key+totp") is Verdict.WRONG
    time.now += 30
    after = totp.code(totp.secret_octets(SECRET), step + 1)
    assert await gate.code(CODED, of(), f"{after[:3]} {after[3:]}", "key+totp") is Verdict.GOOD


async def test_a_recovery_code_is_good_once_however_it_is_typed(gate: Gate) -> None:
    assert await gate.code(CODED, of(), "ABCD efgh", "key+totp") is Verdict.GOOD
    assert await gate.code(CODED, of(), "abcd-efgh", "key+totp") is Verdict.WRONG


async def test_guessing_codes_ends_after_a_few(gate: Gate, audit: Audit, time: Time) -> None:
    for number in range(5):
        assert await gate.code(CODED, of("ann", f"203.0.113.{number}"), "000000", "key+totp") is Verdict.WRONG
    assert audit.lines[-1] == "Access: code ann is locked out for 60 s after too many failures"
    right = totp.code(totp.secret_octets(SECRET), int(time.now // 30))
    assert await gate.code(CODED, of(), right, "key+totp") is Verdict.LOCKED


async def test_a_flood_of_guesses_waits_in_a_short_line_and_the_rest_is_told_to_come_again(
    gate: Gate, audit: Audit
) -> None:
    gate.terms = Terms(failures=0, slow_s=0.0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(gate.password(None, of("eve"), "guess-1234")) for _ in range(60)]
    verdicts = [task.result() for task in tasks]
    assert verdicts.count(Verdict.BUSY) == 60 - WAITING
    assert verdicts.count(Verdict.WRONG) == WAITING
    assert sum("too many log-ins" in line for line in audit.lines) == 60 - WAITING


async def test_each_failure_takes_longer_than_the_one_before_up_to_a_bound(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.terms = Terms(failures=100, slow_s=0.5)
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("ops.access.gate.asyncio.sleep", sleep)
    for _ in range(6):
        await gate.password(ANN, of(), "guess-1234")
    assert waited == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    assert await gate.password(ANN, of(), "plum tree lane") is Verdict.GOOD
    assert len(waited) == 6, "who is right does not wait"


async def test_a_wrong_password_for_which_a_code_was_asked_is_counted_when_the_code_was_given(
    gate: Gate, audit: Audit
) -> None:
    for _ in range(5):
        assert await gate.password(ANN, of(), "guess-1234", settle=False) is Verdict.WRONG
    assert audit.lines == []
    for _ in range(5):
        await gate.settle(of())
    assert audit.lines[0] == "Access: cli log-in of ann from 192.0.2.7 refused: wrong password"
    assert await gate.password(ANN, of(), "plum tree lane") is Verdict.LOCKED


async def test_guesses_that_are_checked_at_once_tell_no_more_than_one_after_the_other(gate: Gate) -> None:
    """The sixth was told that it is right: all six had been let past the lock before the first was counted."""
    async with asyncio.TaskGroup() as group:
        typed = ["guess-1234"] * 5 + ["plum tree lane"]
        tasks = [group.create_task(gate.password(ANN, of(), one)) for one in typed]
    assert tasks[-1].result() is Verdict.LOCKED


async def test_where_failures_cannot_be_counted_nobody_is_let_in_by_password(tmp_path: Path, audit: Audit) -> None:
    (tmp_path / "access.db").write_bytes(b"no database, but long enough to be taken for one" * 100)
    gate = Gate(Records(tmp_path / "access.db"), audit.info, terms=Terms(slow_s=0.0))
    assert await gate.password(ANN, of(), "plum tree lane") is Verdict.BUSY
    assert await gate.code(CODED, of(), "abcd-efgh", "key+totp") is Verdict.BUSY
    assert "nobody can count the failures" in audit.lines[-1]
