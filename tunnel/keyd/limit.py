"""How often something may happen in an hour, remembered across restarts.

keyd counts derivations by engineer and wrong seeds by appliance. An occurrence is on disk before its outcome is told,
so that ending the daemon buys no tries. Blocks on the disk; one caller at a time.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import msgspec

from core import clock
from core.disk import Disk, read_file, replace_file
from core.errors import EX_CONFIG, EX_TEMPFAIL, GatepostError

HOUR_S = 3600.0
_MOST_NAMES = 5000
"""Names that are remembered at once, of all kinds."""

_Seen = dict[str, dict[str, list[float]]]


class HourlyLimits:
    """Counts occurrences by kind and name."""

    def __init__(self, path: Path, most: Mapping[str, int], now: clock.Clock = clock.now) -> None:
        """Open the file; `most` gives the limit of each kind. Raises status 78 if it is damaged."""
        self._path = path
        self._most = most
        self._now = now
        try:
            self._seen = msgspec.json.decode(read_file(Disk(), path) or b"{}", type=_Seen)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            text = f"{path}: damaged: {error}; remove it, an hour's limits begin anew then"
            raise GatepostError(text, EX_CONFIG) from error

    def left(self, kind: str, name: str) -> int:
        """Tell how many are left this hour."""
        return self._most[kind] - len(self._recent(kind, name))

    def check(self, kind: str, name: str, what: str) -> None:
        """Raise status 75, saying when to come back, if none is left. `what` names what there was too much of."""
        recent = self._recent(kind, name)
        if len(recent) < self._most[kind]:
            return
        wait_s = recent[-self._most[kind]] + HOUR_S - self._now()
        text = f"{what}: {self._most[kind]} an hour are allowed; wait {math.ceil(wait_s / 60)} minutes"
        raise GatepostError(text, EX_TEMPFAIL)

    def count(self, kind: str, name: str) -> None:
        """Note one more, durably. Raises `OSError`, and status 75 when too many names are remembered."""
        self._forget_old()
        if sum(map(len, self._seen.values())) >= _MOST_NAMES:
            raise GatepostError("keyd remembers too many names this hour; wait", EX_TEMPFAIL)
        names = self._seen.setdefault(kind, {})
        names[name] = [*names.get(name, ()), self._now()]
        replace_file(Disk(), self._path, msgspec.json.encode(self._seen) + b"\n", mode=0o600)

    def _recent(self, kind: str, name: str) -> list[float]:
        self._forget_old()
        return self._seen.get(kind, {}).get(name, [])

    def _forget_old(self) -> None:
        """Drop what is older than an hour; what lies ahead, because the clock was set back, counts as of now."""
        now = self._now()
        for kind, names in self._seen.items():
            kept = {name: [min(at, now) for at in ats if at > now - HOUR_S] for name, ats in names.items()}
            self._seen[kind] = {name: ats for name, ats in kept.items() if ats}
