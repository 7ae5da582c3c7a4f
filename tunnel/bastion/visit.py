"""Who is where now: each session and each connection straight through, until it ends; listed, watched, terminated.

Filled by the engineers' side. The live check and the verb `terminate` end visits through here.
"""

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from core import clock
from core.errors import EX_UNAVAILABLE, GatepostError
from tunnel.identity import Engineer
from tunnel.recording.recording import Recording

RECORDED, THROUGH = "recorded", "through"


def _nothing(_reason: str) -> None:
    return


@dataclass(slots=True, eq=False)
class Visit:
    """One session or one connection straight through."""

    engineer: Engineer
    serial: str
    mode: str
    source: str
    via: str = ""
    """The appliance through which a second one is reached."""
    command: str = ""
    subsystem: str = ""
    role: str = ""
    """The role that it needs; '' until something was asked for."""
    recording: Recording | None = None
    cut: Callable[[str], None] = _nothing
    """Ends it, with a line for the engineer where there is a way to show one."""
    visit_id: str = field(default_factory=lambda: secrets.token_hex(8))
    since_at: float = field(default_factory=clock.now)
    watchers: int = 0

    def shown(self) -> dict[str, Any]:
        """Give the JSON form."""
        return {
            "id": self.visit_id,
            "engineer": self.engineer.name,
            "case": self.engineer.case,
            "key_id": self.engineer.key_id,
            "serial": self.serial,
            "via": self.via,
            "mode": self.mode,
            "command": self.command,
            "subsystem": self.subsystem,
            "source": self.source,
            "since": self.since_at,
            "watchers": self.watchers,
        }


class Visits:
    """All visits of this bastion."""

    def __init__(self) -> None:
        self._of: dict[str, Visit] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Visit]:
        return iter(tuple(self._of.values()))

    def add(self, visit: Visit) -> None:
        """A visit has begun."""
        self._of[visit.visit_id] = visit

    def remove(self, visit: Visit) -> bool:
        """A visit has ended; tells whether it was still there."""
        return self._of.pop(visit.visit_id, None) is not None

    def known(self, visit_id: str) -> Visit:
        """Give a visit by its id, or by the beginning of it if that is enough. Raises GatepostError (69)."""
        found = [visit for one, visit in self._of.items() if visit_id and one.startswith(visit_id)]
        if len(found) != 1:
            raise GatepostError(f"there is no session {visit_id}; `sessions` lists those there are", EX_UNAVAILABLE)
        return found[0]
