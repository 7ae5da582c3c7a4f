"""A version that waits to be confirmed: what it is, until when, and what to go back to.

`confirm.json` in `Place.kept`, written before the version is in force and worth something only while the file in force
is that version: a commit that was broken off leaves nothing that waits. `Watch` is the console's service that goes back
when nobody confirmed in time. Raises `GatepostError`.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from core import clock
from core.diagnostic import incident
from core.errors import GatepostError
from core.lifecycle import Scope
from ops.configuration.place import Place

_LOOK_S = 1.0
_AGAIN_S = 15.0
LONGEST_MINUTES = 1440


@dataclass(frozen=True)
class Waiting:
    """One version that waits."""

    number: int
    digest: str
    """Of the version."""
    until_at: float
    user: str
    before: str
    """The text that was in force before it, and is again if nobody confirms."""


class Confirmations:
    """The versions of one machine that wait: one, or none."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._file = place.kept / "confirm.json"

    @property
    def any(self) -> bool:
        """Whether there is anything to look at."""
        return self._file.exists()

    def waiting(self, digest: str) -> Waiting | None:
        """Give the version that waits while the file in force is the one of that digest."""
        return next((one for one in self._all() if one.digest == digest), None)

    def wait(self, waiting: Waiting, *, also: Waiting | None) -> None:
        """Have a version wait as soon as it is in force; `also` is the one that waits as long as it is not."""
        self._write([waiting, *([also] if also else [])])

    def settle(self, digest: str) -> None:
        """Forget what does not wait while the file in force is the one of that digest."""
        found = self._all()
        left = [one for one in found if one.digest == digest]
        if not left:
            self.clear()
        elif left != found:
            self._write(left)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._place.disk.unlink(self._file)

    def _all(self) -> list[Waiting]:
        try:
            rows: list[dict[str, Any]] = json.loads(self._file.read_text(encoding="utf-8"))
            return [Waiting(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return []

    def _write(self, waiting: list[Waiting]) -> None:
        self._place.write(self._file, json.dumps([asdict(one) for one in waiting]) + "\n", private=True)


class Watch:
    """Goes back to the configuration before, when a version is not confirmed in time; settles broken-off commits."""

    name = "configuration"

    def __init__(
        self,
        place: Place,
        go_back: Callable[[Waiting], Awaitable[object]],
        resume: Callable[[], Awaitable[None]],
        tell: Callable[[str], None],
        now: clock.Clock,
        *,
        monotonic: clock.Clock = clock.monotonic,
    ) -> None:
        """`tell` is told what became of a version, and why one could not be gone back from."""
        self._confirmations = Confirmations(place)
        self._place = place
        self._go_back = go_back
        self._resume = resume
        self._tell = tell
        self._now = now
        self._monotonic = monotonic
        self._seen: tuple[Waiting, float] | None = None
        """What waits, and when it is over by a clock that nobody sets."""

    async def run(self, scope: Scope) -> None:
        """Look every second until stopping."""
        scope.ready()
        wait_s = _LOOK_S
        while await scope.pause(wait_s):
            wait_s = _LOOK_S
            try:
                await self._look()
            except GatepostError as error:
                self._tell(f"the configuration that was not confirmed is still in force: {error.text}")
                wait_s = _AGAIN_S
            except Exception as error:  # a disk that nobody can write to, say, must not end the console
                self._tell(f"the configuration cannot be looked after: incident {incident('configuration', error)}")
                wait_s = _AGAIN_S

    async def _look(self) -> None:
        await self._resume()
        if not self._confirmations.any:
            return
        waiting = self._confirmations.waiting(self._place.in_force().digest)
        if waiting is not None and self._over(waiting) and await self._go_back(waiting) is not None:
            self._tell(
                f"version {waiting.number} of {waiting.user} was not confirmed: the configuration before is back"
            )

    def _over(self, waiting: Waiting) -> bool:
        """Tell whether the time is up: by the clock, or by our own where the clock was set back."""
        if self._seen is None or self._seen[0] != waiting:
            left_s = min(waiting.until_at - self._now(), 60.0 * LONGEST_MINUTES)
            self._seen = waiting, self._monotonic() + left_s
        return self._now() >= waiting.until_at or self._monotonic() >= self._seen[1]
