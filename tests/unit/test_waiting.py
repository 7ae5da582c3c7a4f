"""A wait that fails says what never came, and one that may raise names what."""

import asyncio

import pytest

from tests.support import waiting
from tests.support.waiting import eventually, until


async def test_a_wait_gives_the_first_true_value() -> None:
    looks = iter([0, "", 7, 8])
    assert eventually(lambda: next(looks)) == 7

    values = iter([None, 5])

    async def look() -> int | None:
        return next(values)

    assert await until(look) == 5
    assert await until(lambda: "at once") == "at once"


async def test_what_a_look_may_raise_is_named_and_nothing_else_passes() -> None:
    looks = iter(["x", "1"])
    assert eventually(lambda: int(next(looks)), despite=(ValueError,)) == 1
    looks = iter(["x", "1"])
    assert await until(lambda: int(next(looks)), despite=(ValueError,)) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        eventually(lambda: int("x"), despite=(OSError,))
    with pytest.raises(ValueError, match="invalid literal"):
        await until(lambda: int("x"), despite=(OSError,))


async def test_a_wait_in_vain_says_what_was_awaited_and_what_there_was() -> None:
    with pytest.raises(AssertionError, match=r"not within 0 s: lines come \(last: \[\]\)"):
        eventually(list, "lines come", within_s=0)
    with pytest.raises(AssertionError, match=r"not within 0 s: the log: .* \(last: ValueError"):
        await until(lambda: int("x"), lambda: "the log: ...", within_s=0, despite=(ValueError,))
    with pytest.raises(AssertionError, match=r"not within 0 s: .*await until\(lambda: 2 > 3.* \(last: False\)"):
        await until(lambda: 2 > 3, within_s=0)


async def test_a_look_that_hangs_ends_and_its_own_timeout_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.01)
    with pytest.raises(AssertionError, match=r"not within 0 s: it hangs \(last: TimeoutError"):
        await until(asyncio.Event().wait, "it hangs", within_s=0)

    async def late() -> None:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await until(late)
