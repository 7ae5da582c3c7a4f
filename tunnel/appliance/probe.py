"""`techsupport probe`: every port and way to the bastion, up to its host key, without enabling anything.

Rows are noted as they come and are in `techsupport status` as the last probe. Nothing is logged in: after the key
exchange the connection is closed. Used by `client.py`. Raises `GatepostError`: 75 while another probe runs.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from core import clock
from core.errors import EX_TEMPFAIL, GatepostError
from tunnel.appliance.hunt import AT_ONCE, wrapped
from tunnel.appliance.link import LinkTerms, handshake
from tunnel.appliance.place import Found, NoPlace, candidates
from tunnel.appliance.registration import LinkFailed
from tunnel.appliance.road import Candidate, Road
from tunnel.appliance.verdict import LATE, LOGIN_REFUSED, OURS, Attempt
from tunnel.appliance.wire import Wire

LONGEST_S = 100.0
MOST_ROWS = 40


class Probe:
    """The last probe, or the one that runs."""

    def __init__(self, road: Road, terms: LinkTerms, ports: Sequence[int], tls_ports: Collection[int]) -> None:
        self._road = road
        self._terms = terms
        self._ports = ports
        self._tls_ports = tls_ports
        self._host = ""
        self._problem = ""
        self._at = 0.0
        self._running = False
        self._attempts: dict[Candidate, Attempt] = {}

    def shown(self) -> dict[str, Any] | None:
        """Give the last probe, with the rows so far; None if there was none."""
        if not self._at:
            return None
        return {
            "host": self._host,
            "at": self._at,
            "running": self._running,
            "problem": self._problem,
            "attempts": [attempt.shown() for attempt in self._attempts.values()],
        }

    async def run(self, names: Sequence[str], find: Callable[[], Any], first_port: int) -> dict[str, Any]:
        """Probe all ports and give the rows; find() looks the bastion up."""
        if self._running:
            raise GatepostError("a probe is running; its rows are in techsupport status", EX_TEMPFAIL)
        self._running, self._at, self._host, self._problem = True, clock.now(), names[0], ""
        self._attempts.clear()
        try:
            async with asyncio.timeout(LONGEST_S):
                await self._all(await find(), first_port)
        except NoPlace as error:
            self._problem = str(error)
        except TimeoutError:
            self._problem = f"the probe was ended after {LONGEST_S:.0f} s; what is missing did not answer"
        finally:
            self._running = False
        return self.shown() or {}

    async def _all(self, found: Found, first_port: int) -> None:
        if found.places:
            self._host = found.places[0].name
        if found.problem:
            self._problem = f"{found.problem}; these are the addresses that were good before"
        todo = candidates(found.places, [first_port, *self._ports], proxied=self._road.proxy is not None)
        gate = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for candidate in todo[:MOST_ROWS]:
                for one in (candidate, wrapped(candidate, self._tls_ports)):
                    if one is not None:
                        group.create_task(self._one(gate, one))

    async def _one(self, gate: asyncio.Semaphore, candidate: Candidate) -> None:
        async with gate:
            wire, attempt = await self._road.attempt(candidate)
            if wire is not None:
                attempt = await self._prove(wire, candidate, attempt)
        self._attempts[candidate] = attempt

    async def _prove(self, wire: Wire, candidate: Candidate, attempt: Attempt) -> Attempt:
        """See whether the host key is the bastion's. Without a key of ours the login ends there."""
        begun = clock.monotonic()
        try:
            connection = await handshake(wire, self._terms, candidate.name, ())
        except LinkFailed as error:
            took_s = attempt.took_s + clock.monotonic() - begun
            if error.verdict is LOGIN_REFUSED:
                good = attempt.verdict if attempt.verdict is LATE else OURS
                return replace(attempt, verdict=good, took_s=took_s)
            return replace(attempt, verdict=error.verdict, detail=error.detail, took_s=took_s)
        connection.abort()
        return attempt
