"""How often alerts are sent: the same one at growing intervals, all kinds together so many an hour.

Used by `Alerts`, which says what is the same. Bounded in what it remembers. Pure but for the clock it is given.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

from core import clock
from core.alert.config import AlertsSection

_HOUR_S: Final = 3600.0
_KEYS: Final = 1_000


@dataclass(slots=True)
class _Kept:
    """What is remembered of one key."""

    free_at: float
    interval_s: float
    suppressed: int = 0


class Verdict(NamedTuple):
    """Whether an alert is sent: `why` not, '' if it is; `left_out` alerts like it were not since the last one."""

    why: str
    left_out: int = 0


class Limit:
    """The memory of one daemon."""

    def __init__(self, monotonic: clock.Clock) -> None:
        self._monotonic = monotonic
        self._kept: dict[str, _Kept] = {}
        self._sent_at: deque[float] = deque()

    def judge(self, key: str, section: AlertsSection, *, counted: bool = True) -> Verdict:
        """Say whether an alert is sent now; remembered either way, and `counted` among those of the hour."""
        now = self._monotonic()
        kept = self._kept.get(key)
        if kept is not None and now >= kept.free_at + kept.interval_s:
            kept.interval_s = section.repeat_s  # quiet for long enough: as if it were the first
        if kept is not None and now < kept.free_at:
            return self._leave_out(key, now, section, "repeated too soon")
        if counted and not self._room(now, section):
            return self._leave_out(key, now, section, f"more than {section.per_hour} alerts in an hour")
        interval_s = min(kept.interval_s * 2, section.repeat_longest_s) if kept else section.repeat_s
        left_out = kept.suppressed if kept is not None else 0
        self._remember(key, _Kept(now + interval_s, interval_s))
        if counted:
            self._sent_at.append(now)
        return Verdict("", left_out)

    def _room(self, now: float, section: AlertsSection) -> bool:
        while self._sent_at and now - self._sent_at[0] >= _HOUR_S:
            self._sent_at.popleft()
        return len(self._sent_at) < section.per_hour

    def _leave_out(self, key: str, now: float, section: AlertsSection, why: str) -> Verdict:
        if key not in self._kept:
            self._remember(key, _Kept(now, section.repeat_s))
        self._kept[key].suppressed += 1
        return Verdict(why)

    def _remember(self, key: str, what: _Kept) -> None:
        while key not in self._kept and len(self._kept) >= _KEYS:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = what
