"""The time zone of this process: logs and the console show times in it.

Set by every daemon at its start and with each configuration, and by `gatepost cli`. '' is the zone of the system.
Raises `ValueError` for a zone that there is not.
"""

import os
import time
import zoneinfo
from functools import cache
from typing import Final

_NOT_OFFERED: Final = ("Etc", "SystemV", "US", "posix", "right")
_found: list[str | None] = []
"""The variable TZ as it was before anything was set here."""


def check_zone(name: str) -> None:
    """See that there is such a zone. Raises `ValueError`."""
    if name and name not in zones():
        raise ValueError("no such time zone; zones are named as Europe/Berlin or UTC")


@cache
def zones() -> frozenset[str]:
    """Name all zones that this machine knows."""
    return frozenset(zoneinfo.available_timezones())


def regions() -> dict[str, list[str]]:
    """Give the zones to choose from by continent or ocean, the rest of their names in order."""
    found: dict[str, list[str]] = {}
    for name in sorted(zones()):
        region, slash, place = name.partition("/")
        if slash and region not in _NOT_OFFERED:
            found.setdefault(region, []).append(place)
    return {region: places for region, places in found.items() if len(places) > 3}


def set_zone(name: str) -> None:
    """Show times of this process in a zone from now on."""
    if not _found:
        _found.append(os.environ.get("TZ"))
    wanted = name or _found[0]
    if wanted is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = wanted
    time.tzset()
