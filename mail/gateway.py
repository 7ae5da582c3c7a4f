"""What the sessions of one gateway process share, and the count of what they refuse, by class of reason."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from core import clock
from core.ids import IdBlocks
from core.maillog import MailLog
from core.smtp.door import Brake
from mail.decide import Decide
from mail.intake import Intake
from mail.limit import HourlyCount
from mail.login.attempt import Logins

CLASSES: Final[Mapping[str, str]] = {
    "REJECT": "host_access",
    "TCPREFUSE": "host_access",
    "RAT": "recipient_access",
    "Receiving Control": "rate_limit",
    "Connection limit exceeded": "rate_limit",
    "Too Many Messages": "rate_limit",
    "Invalid bounce": "bounce_verification",
    "TLS required": "tls_required",
    "TLS failed": "tls_failed",
    "Log-in required": "login_required",
    "Resource conservation": "conservation",
    "No room for a message of this size": "conservation",
    "Message not stored": "spool",
    "Message size exceeds limit": "size",
    "Message loop": "loop",
    "8-bit header": "content",
}
"""Reasons as the mail log has them, and the classes that operators count; all others are `content`."""


@dataclass(slots=True)
class Gateway:
    """What the sessions of one gateway process share."""

    hostname: str
    intake: Intake
    log: MailLog
    mids: IdBlocks
    icids: IdBlocks
    brake: Brake = field(default_factory=Brake)
    """How far receiving is slowed down (mail/edge/conserve.py)."""
    logins: Logins | None = None
    """Who may log in, None where nobody can."""
    now: clock.Clock = clock.now
    connections: Counter[str] = field(default_factory=Counter)
    """Open connections by address."""
    received: HourlyCount = field(default_factory=HourlyCount)
    refused: HourlyCount = field(default_factory=HourlyCount)
    harvest: Callable[[str, str], None] = lambda _host, _text: None
    decide: Decide | None = None
    """Gets a record of each decision of the conversation, also where nothing changed (trace)."""

    def count_refused(self, reason: str) -> None:
        """Count what was refused for a reason of `CLASSES`."""
        self.intake.counters.add(f"smtp_refused_{CLASSES.get(reason, 'content')}")
