"""When and from where an engineer may come in, and what for: how it is written, and the check.

A window is `DAYS FROM-TO [ZONE]`: `mon-fri 08:00-18:00 Europe/Berlin`, `sat,sun 10:00-14:00`, `daily 22:00-06:00`
(over midnight: it belongs to the day on which it begins). Without a zone it is UTC. Used by the command that enters
engineers and by the admission of their sessions. Raises GatepostError (64) for what cannot be read.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from core.errors import EX_USAGE, GatepostError

ROLES = ("shell", "sftp", "forward", "emergency")
"""emergency: may work although no recording can be made."""
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"([a-z,-]+) ([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)(?: (\S+))?")


def roles(text: str) -> tuple[str, ...]:
    """Read a list of roles that is set apart by commas."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    wrong = [name for name in names if name not in ROLES]
    if wrong or not names:
        raise GatepostError(f"roles are {', '.join(ROLES)}; not {', '.join(wrong) or 'none'}", EX_USAGE)
    return names


def networks(texts: Sequence[str]) -> tuple[str, ...]:
    """Check networks; a single empty one clears the list."""
    try:
        return tuple(str(ipaddress.ip_network(text, strict=False)) for text in texts if text)
    except ValueError as error:
        raise GatepostError(f"a network is needed, such as 192.0.2.0/24: {error}", EX_USAGE) from error


def windows(texts: Sequence[str]) -> tuple[str, ...]:
    """Check windows; a single empty one clears the list."""
    for text in texts:
        if text:
            _read(text)
    return tuple(" ".join(text.lower().split()[:2] + text.split()[2:]) for text in texts if text)


def is_within(hours: Sequence[str], at: float) -> bool:
    """Tell whether a time falls into one of the windows; without any, always."""
    return not hours or any(_covers(_read(text), at) for text in hours)


def is_from(sources: Sequence[str], source: str) -> bool:
    """Tell whether an address lies in one of the networks; without any, always."""
    if not sources:
        return True
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ipaddress.ip_network(network) for network in sources)


_Window = tuple[frozenset[int], int, int, tzinfo]


def _read(text: str) -> _Window:
    """Give days (0 is Monday), first minute, last minute (past 1440 over midnight) and zone."""
    match = _WINDOW.fullmatch(" ".join(text.split()[:2]).lower() + "".join(f" {zone}" for zone in text.split()[2:]))
    if match is None:
        raise GatepostError(f"{text!r}: hours are DAYS FROM-TO [ZONE], such as mon-fri 08:00-18:00 UTC", EX_USAGE)
    begin, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (2, 4))
    if end > 1440 or begin == end:
        raise GatepostError(f"{text!r}: from one time of the day to another", EX_USAGE)
    return _days(match[1], text), begin, end if end > begin else end + 1440, _zone(match[6], text)


def _days(text: str, whole: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise GatepostError(f"{whole!r}: days are {', '.join(_DAYS)}, mon-fri or daily", EX_USAGE)
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days.update(day % 7 for day in range(begin, end + 1 if end >= begin else end + 8))
    return frozenset(days)


def _zone(name: str | None, whole: str) -> tzinfo:
    if name is None or name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise GatepostError(f"{whole!r}: {name} is no time zone that this machine knows", EX_USAGE) from error


def _covers(window: _Window, at: float) -> bool:
    days, begin, end, zone = window
    here = datetime.fromtimestamp(at, zone)
    minute = here.hour * 60 + here.minute
    today, before = here.weekday(), (here - timedelta(days=1)).weekday()
    return (today in days and begin <= minute < end) or (before in days and minute + 1440 < end)
