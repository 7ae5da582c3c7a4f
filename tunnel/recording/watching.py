"""Watching a session over a control socket: each question gets what there is to see, or waits a little for it.

Behind `watch` of the bastion's console and `techsupport watch`; `ops/cli/watch.py` asks. A watcher is known by the
token that its first answer gave; one that stays away is forgotten. It sees, and cannot type. Raises GatepostError (69
for a watch that is over, 75 for one too many).
"""

import asyncio
import base64
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from core import clock
from core.errors import EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from tunnel.recording.screen import Frame, Screen, Watch

LOOK_S = 5.0
"""A question is answered after so long although there is nothing to see."""
ABSENT_S = 30.0
"""A watcher that has not asked for so long is gone."""
MOST = 64
ANSWER_OCTETS = 512 * 1024
"""With so much an answer is full; the rest is in the next one."""


def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True)
class Watched:
    """A session that somebody wants to watch."""

    session: str
    screen: Screen
    begun: Callable[[], object]
    """Takes note of the watcher; what it raises keeps the watcher out."""
    left: Callable[[], object] = _nothing


@dataclass(slots=True)
class _Watcher:
    watched: Watched
    watch: Watch
    asked_at: float


class Watchers:
    """All watchers of one daemon's sessions."""

    def __init__(self, *, look_s: float = LOOK_S, absent_s: float = ABSENT_S) -> None:
        self._look_s = look_s
        self._absent_s = absent_s
        self._watchers: dict[str, _Watcher] = {}

    async def answer(self, token: str, begin: Callable[[], Watched]) -> dict[str, Any]:
        """Answer a watcher: without a token it begins with the screen as it is, with one it goes on."""
        self._forget()
        token = token or self._begin(begin())
        watcher = self._watchers.get(token)
        if watcher is None:
            raise GatepostError("this watch is over; begin again", EX_UNAVAILABLE)
        watcher.asked_at = clock.monotonic()
        frames = await self._frames(watcher.watch)
        ended = "" if watcher.watch.ready else watcher.watch.ended
        if ended:
            self._end(token)
        return {
            "watch": token,
            "id": watcher.watched.session,
            "frames": [[kind, base64.b64encode(data).decode("ascii")] for kind, data in frames],
            "ended": ended,
        }

    async def _frames(self, watch: Watch) -> list[Frame]:
        """Take what there is to see, or wait a little for something."""
        frames: list[Frame] = []
        with suppress(TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(self._look_s):
                frames.append(await anext(watch))
        while watch.ready and sum(len(data) for _, data in frames) < ANSWER_OCTETS:
            frames.append(await anext(watch))
        return frames

    def _begin(self, watched: Watched) -> str:
        watch = watched.screen.watch() if len(self._watchers) < MOST else None
        if watch is None:
            raise GatepostError("too many are watching; try again later", EX_TEMPFAIL)
        try:
            watched.begun()
        except BaseException:
            watch.close()
            raise
        token = secrets.token_hex(8)
        self._watchers[token] = _Watcher(watched, watch, clock.monotonic())
        return token

    def _forget(self) -> None:
        now = clock.monotonic()
        for token, watcher in tuple(self._watchers.items()):
            if now - watcher.asked_at > self._absent_s:
                self._end(token)

    def _end(self, token: str) -> None:
        watcher = self._watchers.pop(token, None)
        if watcher is not None:
            watcher.watch.close()
            watcher.watched.left()
