"""The hidden listener `cpq_listener`: the SMTP listener with the extension XCPQ, an intake behind it, and a memory.

The service of the daemon `cpq-listener` on both machines, and its control verbs `status`, `suspend`, `resume`. A
suspension is kept in `state/` and outlives a restart; while it lasts the port is closed. The intake is opened before
the port and closed after the last connection, so that every session gets its answer.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.condition import Concern, Condition, Figure
from core.lifecycle import Scope
from core.maillog import MailLog
from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings
from core.suspension import Suspended
from cpq.pairing import Pairings
from cpq.receive import CpqSession, Intake, Names
from cpq.supply import Numbers
from protocol.quarantine.frame import MAX_FRAME, MAX_RECIPIENTS
from protocol.quarantine.grammar import KEYWORD_LINE, VERBS
from protocol.smtp.extension import CARRIAGE
from protocol.smtp.settings import ServerSettings

LISTENER = "cpq_listener"
DELAY_S = 30.0


@dataclass(frozen=True, slots=True)
class Binding:
    """Where the listener binds and how it calls itself."""

    hostname: str
    address: str
    port: int
    implicit_tls: bool = False
    max_connections: int = 100


def listener_settings(binding: Binding) -> ListenerSettings:
    """Give the settings of the SMTP listener: nothing but EHLO, NOOP, QUIT and STARTTLS before TLS."""
    server = ServerSettings(
        hostname=binding.hostname,
        recipient_limit=MAX_RECIPIENTS,
        starttls=not binding.implicit_tls,
        require_tls=True,
        extensions=CARRIAGE,
        extension_verbs=VERBS,
        extension_keywords=(KEYWORD_LINE,),
        extension_payload_limit=MAX_FRAME,
    )
    return ListenerSettings(
        name=LISTENER,
        host=binding.address,
        port=binding.port,
        server=server,
        max_connections=binding.max_connections,
        implicit_tls=binding.implicit_tls,
    )


class CpqListener:
    """The service."""

    name = LISTENER

    def __init__(
        self, binding: Binding, intake: Intake, pairings: Pairings, *, icids: Numbers, log: MailLog, state: Path
    ) -> None:
        """`state` is the file that remembers a suspension."""
        self._binding = binding
        self._intake = intake
        self._pairings = pairings
        self._icids = icids
        self._log = log
        self._suspended = Suspended(state)
        self._names = Names(LISTENER, binding.hostname)
        settings, closed = listener_settings(binding), LISTENER in self._suspended
        self._smtp = SmtpListener(settings, self._session, tls=pairings.server_context, log=log, suspended=closed)
        self._begun = asyncio.Event()
        """Set once the intake is open: orders that come before wait for that."""

    @property
    def port(self) -> int:
        """The bound port, once open."""
        return self._smtp.port

    async def run(self, scope: Scope) -> None:
        """Open the intake, listen unless suspended, and close the intake when the last connection is gone."""
        self._pairings.server_context()  # a key that cannot be used ends the daemon now, not the first connection
        await self._intake.open(scope)
        await self._smtp.open()
        self._begun.set()
        scope.ready()
        await self._smtp.serve(scope)
        await self._intake.close()

    def condition(self) -> Condition:
        """Say whether mail is taken: where it is to be held that is the machine's work."""
        ready, suspended = self._intake.readiness(), LISTENER in self._suspended
        figures = (Figure("cpq_connections", self._smtp.connections), Figure("cpq_peers", len(self._pairings.all())))
        if ready.accepting and not suspended:
            return Condition(figures=figures)
        why = "cpq_listener is suspended; resumelistener opens it" if suspended else f"nothing is taken: {ready.reason}"
        return Condition((Concern("quarantine", ready.direction == "hold", why),), figures)

    def _session(self) -> CpqSession:
        return CpqSession(self._names, self._intake, self._pairings, self._icids.next(), self._log)

    async def suspend(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: close the port, let connections finish for `delay_s`; lasts over a restart."""
        delay_s = float(args.get("delay_s", DELAY_S))
        self._suspended.suspend([LISTENER])
        await self._begun.wait()
        self._smtp.suspend(delay_s)
        self._log.info(f"Receiving suspended for {LISTENER}, centralized policy quarantine, port {self.port}")
        return {"listeners": [LISTENER], "state": "suspended", "delay_s": delay_s}

    async def resume(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: open the port again. Raises `GatepostError` (69) if it is taken."""
        await self._begun.wait()
        await self._smtp.resume()
        self._suspended.resume([LISTENER])
        self._log.info(f"Receiving resumed for {LISTENER}, centralized policy quarantine, port {self.port}")
        return {"listeners": [LISTENER], "state": "listening"}

    async def status(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: tell whether mail is taken, from whom, and why not."""
        ready = self._intake.readiness()
        suspended = LISTENER in self._suspended
        return {
            "state": "suspended" if suspended else "listening",
            "listener": LISTENER,
            "serial": ready.serial,
            "address": self._binding.address,
            "port": self.port,
            "takes": ready.direction,
            "accepting": ready.accepting and not suspended,
            "reason": "suspended by the operator" if suspended else ready.reason,
            "quarantines": list(ready.quarantines),
            "peers": [
                {"serial": one.serial, "role": one.role, "address": one.address, "port": one.port}
                for one in self._pairings.all()
            ],
            "pairing_faults": list(self._pairings.faults),
            "connections": self._smtp.connections,
        }
