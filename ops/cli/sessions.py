"""Who is logged in to a console: for `who`, and for what every administrator is told.

Apart from the server, so that what only asks (`gatepost cli`, the web side) loads no terminal.
"""

from collections.abc import Callable
from typing import Any

from ops.cli.session import Session


class Sessions:
    """Who is logged in now."""

    def __init__(self) -> None:
        self.others: Callable[[], list[dict[str, Any]]] = list
        """Gives those who are in otherwise: support's shells and file transfers."""
        self._open: dict[int, Session] = {}

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
