"""Sessions that wait for the customer's yes."""

import asyncio

import pytest

from core.errors import GatepostError
from core.runtime import spawn
from tunnel.service.consent import MOST, MOST_OF_ONE, WaitingRoom


async def _asks(room: WaitingRoom, source: str = "ana") -> "asyncio.Task[str]":
    async def ask() -> str:
        try:
            await room.admit(source, f"{source} wants the console", {"engineer": source})
        except GatepostError as error:
            return f"{error.status}: {error.text}"
        return "yes"

    before = len(room.facts())
    task = spawn(ask(), "asks")
    while len(room.facts()) == before and not task.done():
        await asyncio.sleep(0)
    return task


async def test_yes_no_and_no_answer() -> None:
    told: list[str] = []
    room = WaitingRoom(told.append, hold_s=5)
    yes, no = await _asks(room), await _asks(room)
    first, second = (each["id"] for each in room.facts())
    assert room.answer(first.upper(), yes=True)["engineer"] == "ana"
    room.answer(second, yes=False)
    assert (await yes, (await no)[:3]) == ("yes", "77:")
    assert f"techsupport approve {first}" in told[0]
    with pytest.raises(GatepostError, match="no session waits"):
        room.answer(first, yes=True)
    hasty = WaitingRoom(told.append, hold_s=0.01)
    assert (await (await _asks(hasty)))[:3] == "75:"
    assert hasty.facts() == []


async def test_three_of_one_and_so_many_in_all() -> None:
    room = WaitingRoom(lambda _text: None, hold_s=60)
    tasks = [await _asks(room) for _ in range(MOST_OF_ONE)]
    assert "too many" in await (await _asks(room))
    number = 0
    while len(room.facts()) < MOST:
        tasks.append(await _asks(room, f"engineer {number}"))
        number += 1
    assert "too many" in await (await _asks(room, "another"))
    room.close("access has ended")
    assert {await task for task in tasks} == {"77: access has ended"}


async def test_who_goes_away_waits_no_longer() -> None:
    room = WaitingRoom(lambda _text: None, hold_s=60)
    task = await _asks(room)
    task.cancel()
    await asyncio.wait([task])
    assert room.facts() == []
