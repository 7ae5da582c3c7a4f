"""Much work at once, done a slice of time at each turn of the loop, so that it holds nobody up.

Used where one event makes much to do (a message with very many recipients that a filter bounced). What is left at the
end of the process is the index's to bring back. On the loop thread; logs nothing.
"""

import asyncio
from collections import deque
from collections.abc import Callable

SLICE_S = 0.01
"""Longest time that is worked without letting others run; the last piece of work may exceed it."""


class Turns:
    """Pieces of work, in order."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self._armed = False

    def add(self, work: Callable[[], None]) -> None:
        """Have a piece of work done soon."""
        self._waiting.append(work)
        self._arm()

    def _arm(self) -> None:
        if self._waiting and not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + SLICE_S
        try:
            while self._waiting and loop.time() < until:
                self._waiting.popleft()()
        finally:
            self._armed = False
            self._arm()
