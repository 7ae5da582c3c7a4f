"""tunnel.recording.watching: what a watcher is answered, and when it is one no more."""

import base64
from typing import Any

import pytest

from core.errors import GatepostError
from tunnel.recording import watching
from tunnel.recording.screen import Screen
from tunnel.recording.watching import Watched, Watchers


class _Session:
    """A session that counts its watchers."""

    def __init__(self, **terms: float) -> None:
        self.screen = Screen(80, 24)
        self.watched = 0
        self.watchers = Watchers(**terms)

    def _count(self, by: int) -> None:
        self.watched += by

    async def ask(self, token: str = "") -> dict[str, Any]:
        begun = Watched("4f2a", self.screen, lambda: self._count(1), lambda: self._count(-1))
        return await self.watchers.answer(token, lambda: begun)


def _seen(answer: dict[str, Any]) -> bytes:
    return b"".join(base64.b64decode(data) for kind, data in answer["frames"] if kind == "o")


async def test_a_watcher_sees_the_screen_as_it_is_then_what_comes_and_how_it_ends() -> None:
    session = _Session()
    session.screen.output(b"esa> ")
    first = await session.ask()
    assert (first["id"], first["ended"], session.watched) == ("4f2a", "", 1)
    assert _seen(first).endswith(b"esa> ")
    session.screen.output(b"status")
    assert _seen(await session.ask(first["watch"])) == b"status"
    session.screen.output(b"bye")
    session.screen.end()
    last = await session.ask(first["watch"])
    assert (_seen(last), last["ended"], session.watched) == (b"bye", "session ended", 0)
    with pytest.raises(GatepostError, match="begin again"):
        await session.ask(first["watch"])


async def test_what_is_too_much_for_one_answer_is_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "ANSWER_OCTETS", 10)
    session = _Session()
    token = (await session.ask())["watch"]
    for letter in (b"a" * 8, b"b" * 8, b"c" * 8):
        session.screen.output(letter)
    session.screen.end()
    answers = [await session.ask(token), await session.ask(token)]
    assert [_seen(answer) for answer in answers] == [b"a" * 8 + b"b" * 8, b"c" * 8]
    assert [answer["ended"] for answer in answers] == ["", "session ended"]


async def test_a_watcher_that_stays_away_is_forgotten() -> None:
    session = _Session(absent_s=-1, look_s=0)
    token = (await session.ask())["watch"]
    assert session.watched == 1
    await session.ask()
    assert session.watched == 1
    with pytest.raises(GatepostError, match="begin again"):
        await session.ask(token)
    assert session.watched == 0


async def test_a_watcher_that_cannot_be_noted_does_not_watch() -> None:
    screen, watchers = Screen(80, 24), Watchers()

    def full() -> None:
        raise OSError(28, "No space left on device")

    for _ in range(20):
        with pytest.raises(OSError, match="No space"):
            await watchers.answer("", lambda: Watched("4f2a", screen, full))
    assert screen.watch() is not None
