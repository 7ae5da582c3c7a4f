"""What a log subscription is: a type of log, written to files of its own, with a level, a size and a way out.

Some exist without configuration. A row of the configuration with the name of one of those takes its place. Made by
`core/log/config.py`; used by the writers, by the console's commands, and by whoever pushes saved files.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAIL, ERROR, BOUNCE, DELIVERY = "mail", "error", "bounce", "delivery"
INJECTION_DEBUG, DOMAIN_DEBUG = "injection_debug", "domain_debug"
STATUS, CLI, SYSTEM = "status", "cli", "system"

TYPES: Final = {
    MAIL: ("Text mail log", "mail"),
    ERROR: ("Error log", "error"),
    BOUNCE: ("Bounce log", "bounce"),
    DELIVERY: ("Delivery log (XML)", "delivery"),
    INJECTION_DEBUG: ("Injection debug log", "injection"),
    DOMAIN_DEBUG: ("Domain debug log", "domain"),
    STATUS: ("Status log", "status"),
    CLI: ("CLI audit log", "cli"),
    SYSTEM: ("System log", "system"),
}
"""Each type with the words for it and the name that its files have if none is given."""

DEBUG_TYPES: Final = frozenset({INJECTION_DEBUG, DOMAIN_DEBUG})
"""Types that hold what mail hosts and users said, octet by octet."""
PRIVATE_TYPES: Final = DEBUG_TYPES | {CLI}
"""Types that those who only look on do not read."""

DEFAULTS: Final = {
    "mail_logs": (MAIL, 3),
    "bounce_logs": (BOUNCE, 3),
    "status_logs": (STATUS, 3),
    "cli_logs": (CLI, 3),
    "system_logs": (SYSTEM, 3),
    "error_logs": (ERROR, 2),
}
"""The subscriptions that exist without configuration: type and level. Errors: warnings and worse of every daemon."""


@dataclass(frozen=True)
class Push:
    """How a subscription's lines leave the machine: saved files by SCP, or each line by syslog."""

    method: str
    """`scp` or `syslog`."""
    host: str
    port: int
    user: str = ""
    directory: str = ""
    host_key: str = ""
    """Public key line of the host; without one nothing is pushed by SCP."""
    transport: str = "udp"
    form: str = "rfc5424"
    facility: int = 2
    """Number of the syslog facility; 2 = mail."""


@dataclass(frozen=True)
class Subscription:
    """One."""

    name: str
    type: str
    level: int
    path: Path
    """The file that is being written."""
    max_bytes: int
    keep: int
    every_s: float = 0.0
    """Roll over so often; 0 = not by intervals."""
    at: tuple[int, ...] = ()
    """Minutes of the day, local time, at which to roll over."""
    push: Push | None = None
    clients: tuple[str, ...] = ()
    """Whose conversations an injection debug log holds: addresses, networks, ranges, host names, `.partial.name`."""
    domain: str = ""
    """Recipient domain of a domain debug log."""
    sessions: int = 0
    """How many conversations a debug log takes before it ends by itself."""
