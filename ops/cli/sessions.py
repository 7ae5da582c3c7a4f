"""Who is logged in to a console: for `who`, and for what every administrator is told.

Apart from the server, so that what only asks (`gatepost cli`, the web side) loads no terminal.
"""

from collections.abc import Callable
from typing import Any

from core.errors import EX_TEMPFAIL, GatepostError
from ops.cli.account import Caller
from ops.cli.session import Session

MOST_OF_ONE = 20
"""Sessions of one user; each takes a megabyte. Single commands are not counted."""


class Sessions:
    """Who is logged in now."""

    def __init__(self) -> None:
        self.others: Callable[[], list[dict[str, Any]]] = list
        """Gives those who are in otherwise: support's shells and file transfers."""
        self._open: dict[int, Session] = {}

    def admit(self, caller: Caller) -> None:
        """Raise status 75 where one user, of whom a program may be in control, has as many sessions as one may."""
        mine = sum(session.caller.name == caller.name for session in self._open.values())
        if mine >= MOST_OF_ONE and not caller.service:  # support's are counted where they come in
            raise GatepostError(f"{MOST_OF_ONE} sessions of {caller.name} are open; end some", EX_TEMPFAIL)

    def add(self, session: Session) -> None:
        """A session began."""
        self._open[id(session)] = session

    def remove(self, session: Session) -> None:
        """A session ended."""
        self._open.pop(id(session), None)

    def announce(self, text: str) -> None:
        """Show a line to every administrator who is logged in."""
        for session in tuple(self._open.values()):
            if session.administrator:
                session.notice(text)

    def facts(self) -> list[dict[str, Any]]:
        """Give what `who` shows, oldest first."""
        everybody = [*(session.facts() for session in self._open.values()), *self.others()]
        return sorted(everybody, key=lambda one: float(one["since_at"]))
