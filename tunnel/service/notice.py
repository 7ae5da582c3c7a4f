"""What the service account's coming and going is told to: system log, CLI log, own chained log, administrators."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from core.diagnostic import INFO, say
from core.maillog import clean
from tunnel.audit import AuditLog
from tunnel.service.visitor import ServiceLogin

ServiceSession = Callable[[ServiceLogin], asyncssh.SSHServerSession[bytes]]
"""Makes the console's session for a service login; it gets bytes, and may be asked for shell or exec."""


def _silent(_text: str) -> None:
    """Tell nobody."""


async def _nothing() -> None:
    """End nothing."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is told to others and asked of them, handed in by the console's root."""

    session: ServiceSession
    tell: Callable[[str], None] = _silent
    """Shows a line to every administrator who is logged in."""
    log: Callable[[str], None] = _silent
    """Writes a line to the CLI log."""
    alert: Callable[[str], None] = _silent
    """Alerts people by mail."""
    disable: Callable[[], Awaitable[Any]] = _nothing
    """Ends remote access: asks the tunnel client."""


class Notices:
    """Writes each event once to every place that keeps it."""

    def __init__(self, around: Surroundings, audit: AuditLog) -> None:
        self._around = around
        self._audit = audit

    def note(self, event: str, text: str, **facts: Any) -> None:
        """Log an event."""
        text = clean(text)
        say(INFO, text)
        self._around.log(text)
        self._audit.note(event, text=text, **facts)

    def tell(self, text: str) -> None:
        """Show a line to the administrators who are logged in."""
        self._around.tell(clean(text))

    def ask(self, text: str) -> None:
        """Show a line to the administrators and log it."""
        self.tell(text)
        self.note("service-notice", text)

    def alert(self, event: str, text: str, **facts: Any) -> None:
        """Log an event that people have to know of now."""
        self.note(event, text, **facts)
        self.tell(text)
        self._around.alert(clean(text))
