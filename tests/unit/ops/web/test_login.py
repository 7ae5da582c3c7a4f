"""`ops.web.login`: who is let in over HTTP, by the gate that the console uses as well."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.access import store
from ops.access.gate import Gate, Verdict
from ops.cli.account import KEY, KEY_CODE, PASSWORD_CODE, Account, Role
from ops.web.login import Busy, Logins
from tests.support.access import Time, gate_in, stored
from tests.support.appliance import Audit

SOURCE = "192.0.2.7"


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def audit() -> Audit:
    return Audit()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def gate(tmp_path: Path, audit: Audit, time: Time) -> AsyncIterator[Gate]:
    async with gate_in(tmp_path, audit, time) as made:
        yield made


def user(name: str = "joe", **more: object) -> Account:
    return Account(name, Role.GUEST, (), password=stored("plum tree lane"), **more)  # type: ignore[arg-type]


async def test_a_user_with_a_password_is_let_in_and_failures_are_the_consoles(
    gate: Gate, audit: Audit, time: Time
) -> None:
    logins = Logins({"joe": user()}, gate, now=time)
    assert await logins.user_of(basic("joe", "plum tree lane"), SOURCE) == user()
    for name in ("joe", "ann", "joe", "joe", "joe"):
        assert await logins.user_of(basic(name, "wrong password"), SOURCE) is None
    assert audit.lines[0] == "Access: web log-in of joe from 192.0.2.7 refused: wrong password"
    assert "Access: address 192.0.2.7 is locked out for 60 s after too many failures" in audit.lines
    assert await logins.user_of(basic("joe", "plum tree lane"), SOURCE) is None


@pytest.mark.parametrize(
    "more", [{"ways": frozenset({KEY_CODE, PASSWORD_CODE})}, {"must_change": True, "ways": frozenset({KEY})}]
)
async def test_whom_basic_cannot_ask_is_not_let_in(gate: Gate, time: Time, more: dict[str, object]) -> None:
    """A password alone would go round the second factor."""
    logins = Logins({"joe": user(**more)}, gate, now=time)
    assert await logins.user_of(basic("joe", "plum tree lane"), SOURCE) is None


async def test_a_collector_that_comes_every_few_seconds_is_in_the_record_once_an_hour(gate: Gate, time: Time) -> None:
    logins = Logins({"joe": user()}, gate, now=time)
    for _ in range(3):
        time.now += 1200
        assert await logins.user_of(basic("joe", "plum tree lane"), SOURCE) is not None
    assert len(await gate.records.look(store.history, 10, good=True)) == 1
    time.now += 1300
    await logins.user_of(basic("joe", "plum tree lane"), SOURCE)
    assert len(await gate.records.look(store.history, 10, good=True)) == 2


async def test_when_too_many_wait_nobody_is_told_that_the_password_is_wrong(gate: Gate, time: Time) -> None:
    async def busy(*_: object) -> Verdict:
        return Verdict.BUSY

    gate.password = busy  # type: ignore[method-assign, assignment]
    with pytest.raises(Busy):
        await Logins({"joe": user()}, gate, now=time).user_of(basic("joe", "plum tree lane"), SOURCE)
