"""Certificates that are read again while a daemon runs: at SIGHUP, and by the control verb `reload_certificates`.

Used by the roots of daemons that show certificates. A pair that cannot be used changes nothing: one line in the mail
log, an alert where there are recipients, and the caller's error. Connections in progress keep what they have.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from core.alert.alerts import Alerts
from core.alert.kind import WARNING
from core.errors import ConfigError, GatepostError
from core.maillog import MailLog, clean


class Renewal:
    """The certificates of one daemon."""

    def __init__(self, read: Callable[[], list[str]], log: MailLog, alerts: Alerts | None = None) -> None:
        """`read` reads all files and gives warnings. Raises `GatepostError` where one cannot be used."""
        self._read = read
        self._log = log
        self._alerts = alerts

    async def renew(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb `reload_certificates`: show what the files hold now, from the next handshake on."""
        try:
            warnings = await asyncio.to_thread(self._read)
        except GatepostError as error:
            problems = error.problems if isinstance(error, ConfigError) else ()
            reasons = "; ".join(str(problem) for problem in problems) or error.text
            self._log.warning(f"Certificates not reloaded, those in use stay: {clean(reasons)}")
            if self._alerts is not None:
                text = f"certificates were not reloaded, those in use stay in use: {reasons}"
                self._alerts.send(WARNING, "MAIL.CERTIFICATE_REFUSED", text)
            raise
        for warning in warnings:
            self._log.warning(f"Certificates: {clean(warning)}")
        self._log.info("Certificates reloaded")
        return {"reloaded": True, "warnings": warnings}
