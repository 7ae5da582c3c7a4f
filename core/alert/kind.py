"""The classes of alerts, their severities, and which class an id belongs to.

An id is a name in parts, `MAIL.RES_CON_START_ALERT.MEMORY`; its class is that of the longest beginning listed here.
Used by the configuration, the service and the operator commands. Pure.
"""

from collections.abc import Mapping
from typing import Final

CRITICAL: Final = "Critical"
WARNING: Final = "Warning"
INFO: Final = "Info"
SEVERITIES: Final = (INFO, WARNING, CRITICAL)
"""From the least to the gravest."""

ALL: Final = "All"
CLASSES: Final[Mapping[str, str]] = {
    "System": "memory, disk, spool, tests of the alerts themselves",
    "Mail": "messages that wait for a person",
    "Queue": "deliveries that are suspended or cannot be recorded",
    "Quarantine": "space and troubles of the central quarantine",
    "RemoteAccess": "support's access to this machine",
    "TLS": "certificates, and TLS that was required and not to be had",
    "DirectoryHarvest": "hosts that try out addresses",
    "Log": "logs that cannot leave the machine",
}
"""Class, and what is in it."""

_BEGINNINGS: Final[Mapping[str, str]] = {
    "SYSTEM": "System",
    "DISK": "System",
    "MAIL.RES_CON_START_ALERT": "System",
    "MAIL.RES_CON_STOP_ALERT": "System",
    "MAIL.SPOOL_UNHEALTHY": "System",
    "MAIL": "Mail",
    "MAIL.CERTIFICATE_REFUSED": "TLS",
    "QUEUE": "Queue",
    "QUARANTINE": "Quarantine",
    "REMOTE": "RemoteAccess",
    "SUPPORT": "RemoteAccess",
    "TLS": "TLS",
    "DHAP": "DirectoryHarvest",
    "LOG": "Log",
}


def class_of(kind: str) -> str:
    """Give the class of an id; System for one that is not listed."""
    parts = kind.upper().split(".")
    for count in range(len(parts), 0, -1):
        found = _BEGINNINGS.get(".".join(parts[:count]))
        if found is not None:
            return found
    return "System"


def split_choice(text: str) -> tuple[str, str]:
    """Read `CLASS` or `CLASS/SEVERITY` into the class (or `All`) and the least severity ('' = not said).

    Raises `ValueError` naming what there is.
    """
    name, _, least = (part.strip() for part in text.partition("/"))
    classes = {one.lower(): one for one in (ALL, *CLASSES)}
    if name.lower() not in classes:
        raise ValueError(f"there is no class of alerts {name!r}; there are: {', '.join(classes.values())}")
    severities = {one.lower(): one for one in SEVERITIES}
    if least and least.lower() not in severities:
        raise ValueError(f"there is no severity {least!r}; there are: {', '.join(SEVERITIES)}")
    return classes[name.lower()], severities.get(least.lower(), "")


def reaches(severity: str, least: str) -> bool:
    """Tell whether a severity is at least another one, in any case."""
    return SEVERITIES.index(severity.capitalize()) >= SEVERITIES.index(least.capitalize())
