"""Find a road to the bastion: candidates in order, a few at a time, the banner as the finish line.

Happy eyeballs in shape (RFC 8305): addresses of a port start 250 ms apart, another port a second later, and at once
when one has failed; never more than three at a time, so that nobody takes it for a scan. The first good banner wins
and the others are given up; if SSH then fails on it, the hunt goes on with those that are left. Where plain SSH fails
in a way that suggests inspection, the same port is tried in TLS if it is one of those for that. Called by `client.py`
and `probe.py`; knows no host key and no login. Raises nothing but cancellation.
"""

import asyncio
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import zip_longest

from core import clock
from tunnel.appliance.road import Candidate, Progress, Road
from tunnel.appliance.verdict import Attempt, Note, Way
from tunnel.appliance.wire import Wire

STAGGER_S = 0.25
PORT_STAGGER_S = 1.0
AT_ONCE = 3
MOST_ADDRESSES = 6
"""Of one name on one port."""

Won = tuple[Wire, Candidate, Attempt]
_Running = dict[asyncio.Task[tuple[Wire | None, Attempt]], tuple[Candidate, Progress]]


def interleave(addresses: Sequence[str]) -> list[str]:
    """Order addresses for the race: families take turns, IPv6 first, a bounded number of them."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    pairs = zip_longest(six, four)
    return [address for pair in pairs for address in pair if address is not None][:MOST_ADDRESSES]


def wrapped(candidate: Candidate, tls_ports: Collection[int]) -> Candidate | None:
    """Give the same candidate in TLS; None if it is already, or if its port is not one for that."""
    way = {Way.SSH: Way.TLS, Way.PROXY: Way.PROXY_TLS}.get(candidate.way)
    return replace(candidate, way=way) if way is not None and candidate.port in tls_ports else None


class Hunt:
    """One round over candidates."""

    def __init__(
        self, road: Road, candidates: Iterable[Candidate], note: Note, tls_ports: Collection[int] = ()
    ) -> None:
        self._road = road
        self._note = note
        self._tls_ports = tls_ports
        self._queue = deque(dict.fromkeys(candidates))
        self._known = set(self._queue)
        self._port = 0

    async def next(self) -> Won | None:
        """Give the next connection with our banner; None when all candidates have been tried."""
        running: _Running = {}
        async with asyncio.TaskGroup() as group:
            try:
                while self._queue or running:
                    wait_s = self._start(group, running)
                    done, _ = await asyncio.wait(running, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
                    if won := self._settle([task for task in running if task in done], running):
                        self._note_slow(running)
                        return won
            finally:
                self._give_up(running)
        return None

    def suspect(self, candidate: Candidate) -> None:
        """Have a candidate whose SSH failed behind a good banner tried in TLS, if its port is one for that."""
        again = wrapped(candidate, self._tls_ports)
        if again is not None and again not in self._known:
            self._known.add(again)
            self._queue.appendleft(again)

    def _start(self, group: asyncio.TaskGroup, running: _Running) -> float | None:
        """Start the next candidate; gives the time after which another one is due, None if none will be."""
        if self._queue and len(running) < AT_ONCE:
            candidate = self._queue.popleft()
            self._port = candidate.port
            progress = Progress()
            running[group.create_task(self._road.attempt(candidate, progress))] = candidate, progress
        if not self._queue or len(running) >= AT_ONCE:
            return None
        return STAGGER_S if self._queue[0].port == self._port else PORT_STAGGER_S

    def _settle(self, done: list[asyncio.Task[tuple[Wire | None, Attempt]]], running: _Running) -> Won | None:
        won: Won | None = None
        for task in done:
            candidate, _ = running.pop(task)
            wire, attempt = task.result()
            if wire is None or won is None:
                self._judge(candidate, attempt)
            if wire is not None and won is None:
                won = wire, candidate, attempt
            elif wire is not None:
                wire.close()
                self._queue.appendleft(candidate)
        return won

    def _judge(self, candidate: Candidate, attempt: Attempt) -> None:
        self._note(attempt)
        if attempt.verdict.suggests_inspection:
            self.suspect(candidate)

    def _note_slow(self, running: _Running) -> None:
        """Say of what had its time, and lost, that it did not answer: else nobody learns why it is not in use."""
        for candidate, progress in running.values():
            if clock.monotonic() - progress.begun >= PORT_STAGGER_S:
                self._note(progress.given_up(candidate))

    def _give_up(self, running: _Running) -> None:
        """Cancel what has not been decided; it comes again if the hunt goes on."""
        self._queue.extendleft(candidate for candidate, _ in reversed(running.values()))
        for task in running:
            task.add_done_callback(_close_unused)
            task.cancel()


def _close_unused(task: asyncio.Task[tuple[Wire | None, Attempt]]) -> None:
    if not task.cancelled() and task.exception() is None and (wire := task.result()[0]) is not None:
        wire.close()
