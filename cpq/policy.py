"""What each quarantine does with its messages: retention, default action, who makes room on overflow.

Built from configuration by cpq/config.py, asked by the intake (which quarantine, until when) and by the sweeps
(what happens at expiry). Pure: no clock, no store.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from core.record import MAX_HOLDS
from cpq.state import Event

DAY_S = 86_400.0
UNCLASSIFIED = "Unclassified"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The settings of one quarantine."""

    name: str
    retention_s: float = 10 * DAY_S
    default_action: Event = Event.DELETE
    makes_room: bool = True
    """Whether the default action may be applied early when space runs out."""


SYSTEM_MADE = (
    Quarantine("Policy", 10 * DAY_S, Event.DELETE),
    Quarantine("Virus", 30 * DAY_S, Event.DELETE),
    Quarantine("Outbreak", 14 * DAY_S, Event.RELEASE),
    Quarantine(UNCLASSIFIED, 30 * DAY_S, Event.RELEASE),
)


class Policy:
    """All quarantines of the machine: the system-made ones, changed and joined by the configured ones."""

    def __init__(self, configured: Iterable[Quarantine] = ()) -> None:
        self._quarantines = {one.name: one for one in (*SYSTEM_MADE, *configured)}

    @property
    def names(self) -> tuple[str, ...]:
        """Give the names, in the order in which they are shown."""
        return tuple(self._quarantines)

    @property
    def known(self) -> Collection[str]:
        """Give the names as a view that follows `adopt`."""
        return self._quarantines.keys()

    def adopt(self, other: "Policy") -> None:
        """Become what another policy is, for all that hold this one."""
        gone = [name for name in self._quarantines if name not in other.known]
        self._quarantines.update(other._quarantines)
        for name in gone:
            del self._quarantines[name]

    def named(self, name: str) -> Quarantine:
        """Give the quarantine of that name; a name that is not configured leads to `Unclassified`."""
        return self._quarantines.get(name) or self._quarantines[UNCLASSIFIED]

    def expiry(self, name: str, held_at: float, asked_at: float, hold_count: int) -> float:
        """Give when the default action is due: what the sender asked for, else the retention; 0 = never.

        A message held too often never expires into a release; expiry into a deletion still ends it.
        """
        quarantine = self.named(name)
        if stays_held(hold_count) and quarantine.default_action is Event.RELEASE:
            return 0.0
        return asked_at if asked_at > held_at else held_at + quarantine.retention_s


def stays_held(hold_count: int) -> bool:
    """Tell whether a message has been held too often to be released again."""
    return hold_count > MAX_HOLDS
