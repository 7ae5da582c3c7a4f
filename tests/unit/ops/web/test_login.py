"""`ops.web.login`: who is let in, and what a name that is no user's costs."""

import asyncio
import base64
import threading

import pytest

from ops.cli.account import Role
from ops.web.login import Busy, Logins, WebUser


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


async def test_a_name_that_is_no_users_costs_a_check_too_and_is_not_let_in_by_the_others_password() -> None:
    checked: list[str] = []
    refused: list[str] = []

    def matches(stored: str, password: str) -> bool:
        checked.append(stored)
        return stored == f"stored {password}"

    logins = Logins({"joe": WebUser("joe", Role.GUEST, "stored right")}, matches, refused.append, failure_s=0.0)
    found = await logins.user_of(basic("joe", "right"))
    assert found is not None
    assert found.name == "joe"
    assert await logins.user_of(basic("joe", "wrong")) is None
    assert await logins.user_of(basic("ann", "right")) is None
    assert checked == ["stored right"] * 3
    assert refused == ["web: joe not let in", "web: ann not let in"]


async def test_guesses_that_were_refused_held_the_room_for_their_second() -> None:
    """Twenty-two wrong passwords a second kept everybody out."""
    logins = Logins(
        {"joe": WebUser("joe", Role.GUEST, "right")},
        lambda stored, said: stored == said,
        lambda _: None,
        failure_s=60.0,
    )
    guesses = [asyncio.get_running_loop().create_task(logins.user_of(basic("joe", "wrong"))) for _ in range(14)]
    guesses += [asyncio.get_running_loop().create_task(logins.user_of(basic("ann", "wrong"))) for _ in range(5)]
    async with asyncio.timeout(10):
        for _ in range(40):
            assert await logins.user_of(basic("joe", "right")) is not None
    for guess in guesses:
        assert not guess.done()
        guess.cancel()
    await asyncio.gather(*guesses, return_exceptions=True)


async def test_the_right_password_was_called_wrong_when_too_many_waited() -> None:
    go_on = threading.Event()

    def matches(stored: str, said: str) -> bool:
        go_on.wait(10)
        return stored == said

    logins = Logins({"joe": WebUser("joe", Role.GUEST, "right")}, matches, lambda _: None, failure_s=0.0)
    asked = [asyncio.get_running_loop().create_task(logins.user_of(basic("joe", "right"))) for _ in range(20)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await logins.user_of(basic("joe", "right"))
    go_on.set()
    assert all(await asyncio.gather(*asked))
    assert await logins.user_of(basic("joe", "right")) is not None
