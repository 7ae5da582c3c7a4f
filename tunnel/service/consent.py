"""The customer's yes: sessions that wait until an administrator of the appliance lets them begin.

Used by the service endpoint where `techsupport` was enabled with `ask before each session`. Held for 90 s at most,
three of one engineer, 256 in all; who does not answer has said no.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core import clock
from core.errors import EX_NOPERM, EX_TEMPFAIL, EX_USAGE, GatepostError

HOLD_S = 90.0
MOST_OF_ONE = 3
MOST = 256

Tell = Callable[[str], None]
"""Shows one line to every administrator who is logged in, and logs it."""


@dataclass(slots=True, eq=False)
class Request:
    """One session that waits."""

    number: str
    source: str
    """Whom the limit of three counts for."""
    facts: dict[str, Any]
    answer: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """'' for yes, else why not."""


class WaitingRoom:
    """All sessions that wait for a yes."""

    def __init__(self, tell: Tell, hold_s: float = HOLD_S) -> None:
        self._tell = tell
        self._hold_s = hold_s
        self._waiting: dict[str, Request] = {}

    async def admit(self, source: str, what: str, facts: dict[str, Any]) -> None:
        """Return when an administrator said yes. Raises status 77 or 75 with the reason otherwise."""
        if len(self._waiting) >= MOST or sum(each.source == source for each in self._waiting.values()) >= MOST_OF_ONE:
            raise GatepostError("too many sessions wait for the administrator's yes; try again later", EX_TEMPFAIL)
        number = secrets.token_hex(3)
        document = {"id": number, "what": what, "since": clock.now(), **facts}
        request = self._waiting[number] = Request(number, source, document)
        self._tell(
            f"Support asks to be let in: {what}; answer with `techsupport approve {number}` or "
            f"`techsupport refuse {number}` within {self._hold_s:.0f} s"
        )
        try:
            async with asyncio.timeout(self._hold_s):
                why = await request.answer
        except TimeoutError:
            self._tell(f"Support was not let in: nobody answered request {number}")
            raise GatepostError("no administrator of the appliance answered in time", EX_TEMPFAIL) from None
        finally:
            self._waiting.pop(number, None)
        if why:
            raise GatepostError(why, EX_NOPERM)

    def answer(self, number: str, *, yes: bool) -> dict[str, Any]:
        """Answer one request; gives what was answered. Raises status 64 if nobody waits under that number."""
        request = self._waiting.pop(number.lower(), None)
        if request is None or request.answer.done():
            raise GatepostError(f"{number}: no session waits under that number; see `techsupport status`", EX_USAGE)
        request.answer.set_result("" if yes else "an administrator of the appliance said no")
        return {**request.facts, "answer": "yes" if yes else "no"}

    def close(self, why: str) -> None:
        """Refuse everybody who waits."""
        for request in self._waiting.values():
            if not request.answer.done():
                request.answer.set_result(why)

    def facts(self) -> list[dict[str, Any]]:
        """List who waits, the longest first."""
        return [request.facts for request in self._waiting.values()]
