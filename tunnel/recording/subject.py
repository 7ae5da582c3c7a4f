"""Whom and what a recording is about, and what happens when there can be none.

Filled in by the bastion and by the appliance's service endpoint. Knows no file.
"""

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.errors import EX_TEMPFAIL, GatepostError
from tunnel.config import RecordingSection
from tunnel.recording.tape import FORMAT

DEFAULT_SIZE = (80, 24)


class Policy(enum.Enum):
    """What becomes of a session that cannot be recorded."""

    STRICT = "strict"
    """It does not begin, or it ends."""
    BEST_EFFORT = "best-effort"
    """It goes on; audit log and diagnostics say so."""
    EMERGENCY = "emergency"
    """It goes on even below the reserve, so that a full disk locks nobody out; an alarm is raised."""


class RecordingRefused(GatepostError):
    """A strict session cannot be recorded, so it must not be."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this session cannot be recorded, so it is refused: {reason}", EX_TEMPFAIL)


def policy_for(section: RecordingSection, roles: Collection[str]) -> Policy:
    """Choose by an engineer's roles; of two that differ the strict one counts, the emergency role before all."""
    if section.recording_emergency_role and section.recording_emergency_role in roles:
        return Policy.EMERGENCY
    if set(roles) & set(section.recording_strict_roles):
        return Policy.STRICT
    if set(roles) & set(section.recording_best_effort_roles):
        return Policy.BEST_EFFORT
    return Policy.STRICT if section.recording == "strict" else Policy.BEST_EFFORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One channel: who opened it, to where, and what was asked for before it began."""

    session: str
    """The id of the channel; names the file."""
    serial: str
    case: str = ""
    engineer: str = ""
    key_id: str = ""
    activation_id: str = ""
    connection_id: str = ""
    source: str = ""
    mode: str = ""
    """`recorded` (terminated), `through`, `service` (on the appliance), …"""
    command: str | None = None
    """For exec; None with no subsystem is a shell."""
    subsystem: str = ""
    forward: str = ""
    """host:port of a channel that is no session; its content is not recorded."""
    term_type: str | None = None
    """None where no terminal was asked for."""
    term_size: tuple[int, ...] = (0, 0)
    """Columns and rows, then pixels, as asyncssh gives them; 0 = not known."""
    term_modes: Mapping[int, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    """All that was asked for, passed on or not."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """More keys for the header's `gatepost`."""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows; 80 x 24 where they are not known."""
        return (self.term_size[0], self.term_size[1]) if self._size_known else DEFAULT_SIZE

    @property
    def _size_known(self) -> bool:
        return len(self.term_size) >= 2 and min(self.term_size[:2]) > 0

    @property
    def request(self) -> tuple[str, dict[str, Any]]:
        """The marker of the request that began it."""
        if self.forward:
            return "port-forward", {"to": self.forward}
        if self.subsystem:
            return "subsystem", {"name": self.subsystem}
        return ("shell", {}) if self.command is None else ("exec", {"command": self.command})

    @property
    def requests(self) -> list[tuple[str, dict[str, Any]]]:
        """The markers of all that was asked for up to the beginning, in the order of their kinds."""
        asked: list[tuple[str, dict[str, Any]]] = []
        if self.term_type is not None:
            size = list(self.term_size)
            asked.append(("pty", {"term": self.term_type, "size": size, "modes": dict(self.term_modes)}))
        asked += [("env", {"name": name, "value": value}) for name, value in self.environment.items()]
        return [*asked, self.request]

    def header(self, started_at: float) -> dict[str, Any]:
        """Give the first line of the file."""
        width, height = self.size
        own = {
            "format": FORMAT,
            "session": self.session,
            "serial": self.serial,
            "engineer": self.engineer,
            "case": self.case,
            "key_id": self.key_id,
            "activation_id": self.activation_id,
            "connection_id": self.connection_id,
            "source": self.source,
            "mode": self.mode,
            "request": self.request[0],
            "pty": self.term_type is not None,
            "size_known": self._size_known,
            "started_at": started_at,
            **self.facts,
        }
        return {
            "version": 2,
            "width": width,
            "height": height,
            "timestamp": int(started_at),
            "title": self.case,
            "env": {"TERM": self.term_type or ""},
            **({} if self.command is None else {"command": self.command}),
            "gatepost": own,
        }
