"""The edge of a gateway: its listeners with their doors and certificates, and resource conservation, for its root.

The first gateway of a machine sends the alerts about what all of them measure; the others would only repeat them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from ssl import SSLContext
from typing import Final, cast

from core.alert.alerts import Alerts
from core.alert.kind import WARNING
from core.control import call
from core.dns import resolver_of
from core.errors import GatepostError
from core.journal.journal import Journal
from core.log.client import Clients
from core.maillog import MailLog, clean
from core.memory import Memory
from core.record import HOLD_QUEUE, Outcome
from core.smtp.door import Brake
from core.smtp.listener import SmtpListener
from core.smtp.session import SessionFactory
from core.switch import Prepared
from core.tls import ServerCertificate
from daemons.alerting import Verb, alerts_of, names_verbs
from daemons.config import Esa
from daemons.machine import Machine
from daemons.renew import Renewal
from daemons.wiring import bounce_tags, verification_of, with_handler
from mail.access import build_access, listener_settings
from mail.bounce.tag import Tags
from mail.config import ListenerSection
from mail.dnscheck import Choices, DnsCheck
from mail.edge.conserve import Conservation, Meter, Readings
from mail.edge.door import build_door
from mail.gateway import Gateway
from mail.intake import Intake
from mail.listeners import Listeners, Ways
from mail.login.attempt import Logins
from mail.login.users import Users
from mail.receive import GatewaySession

ASK_S: Final = 5.0
"""Longest answer of a sibling about its listeners."""


class Edge:
    """See the module."""

    def __init__(self, machine: Machine, document: Esa, log: MailLog, *, instance: int = 0) -> None:
        """Read the certificates; the first instance sends alerts. Raises `ConfigError` with all that cannot be used."""
        self.brake = Brake()
        self._document = document
        self._who = f"gateway-{instance}"
        self._socket = machine.socket(self._who)
        self.logins = Logins(Users(document.smtp_user), document.smtp_login, log)
        self._machine = machine
        self._log = log
        self._tags = bounce_tags(machine, document)
        self._shared: Gateway
        self._conservation: Conservation
        self._responder: DnsCheck
        self.listeners: Listeners
        self._certificate = machine.certificate()
        self._resolver = resolver_of(document.dns)
        self.alerts = alerts_of(machine, document, self._who, log, self._resolver)
        self._measured = self.alerts if not instance else alerts_of(machine, document, self._who, log, silent=True)
        self.certificates = Renewal(self._reread_certificates, log, self._measured)

    def lookups(self) -> Mapping[str, int]:
        """Count the DNS lookups since the start."""
        return self._resolver.statistics.counts()

    def verbs(self) -> dict[str, Verb]:
        """Give the control verbs of certificates and names."""
        return {"reload_certificates": self.certificates.renew, **names_verbs(self._resolver, self._machine.hostname)}

    def open(self, shared: Gateway) -> Listeners:
        """Make the listeners; the sessions of all share `shared`."""
        self._shared = shared
        shared.harvest = self._alert_of_harvest
        self._responder = shared.intake.responder = DnsCheck(
            Choices(**self._document.dnscheck.model_dump()),
            self._resolver,
            hostname=self._machine.hostname,
            mids=shared.mids,
            submit=shared.intake.submit,
            log=self._log,
        )
        ways = self._ways(self._document, self.logins.users, self._tags)
        state = self._machine.state / f"{self._who}.suspended.json"
        self.listeners = Listeners(ways, self._listener, state=state, log=self._log, shared=self._listens_elsewhere)
        return self.listeners

    def _listener(self, ways: Ways, suspended: bool) -> SmtpListener:
        return SmtpListener(
            ways.settings,
            ways.session,
            tls=self._context,
            log=self._log,
            door=ways.door,
            suspended=suspended,
        )

    def _ways(self, document: Esa, users: Users, tags: Tags) -> list[Ways]:
        return [self._ways_of(document, section, users, tags) for section in document.listener]

    def _ways_of(self, document: Esa, section: ListenerSection, users: Users, tags: Tags) -> Ways:
        access = build_access(section, verification_of(document, section, tags))
        bound = listener_settings(
            section, self._machine.hostname, tls=True, reuse_port=True, mechanisms=users.mechanisms
        )
        session: SessionFactory = partial(GatewaySession, self._shared, access)
        bound, session = with_handler(self._machine, section, bound, session)
        door = build_door(
            section,
            access,
            resolver=self._resolver,
            brake=self.brake,
            log=self._log,
            debug=self._machine.injection_debug,
            debug_names=any(Clients(row.clients).named for row in document.log_subscription if row.enabled),
        )
        return Ways(bound, session, door)

    async def _listens_elsewhere(self, host: str, port: int) -> bool:
        """Ask the other processes of this gateway whether one of them listens at an address."""
        for path in sorted(self._socket.parent.glob("gateway-*.sock")):
            if path == self._socket:
                continue
            try:
                rows = (await call(path, "listeners", timeout_s=ASK_S))["listeners"]
            except GatepostError:
                continue
            if any((row["address"], row["port"], row["state"]) == (host, port, "listening") for row in rows):
                return True
        return False

    async def prepare(self, candidate: Machine) -> Prepared:
        """Build the edge of another document of this machine, and take hold of its addresses. Raises all faults."""
        document, users, certificate, ways = await asyncio.to_thread(self._built, candidate)
        listeners = await self.listeners.prepare(ways)

        async def apply() -> None:
            self._adopt(document, users, certificate)
            await listeners.apply()
            self._log.info(f"Listeners reloaded: {len(ways)}; users that may log in: {users.count}")

        return Prepared(apply, listeners.drop)

    def _built(self, candidate: Machine) -> tuple[Esa, Users, ServerCertificate, list[Ways]]:
        document = cast(Esa, candidate.document)
        users, tags = Users(document.smtp_user), bounce_tags(candidate, document)
        return document, users, candidate.certificate(), self._ways(document, users, tags)

    def _adopt(self, document: Esa, users: Users, certificate: ServerCertificate) -> None:
        """Go by other users, certificates and conservation."""
        self._document = document
        self.logins.follow(users, document.smtp_login)
        self._certificate = certificate
        self._resolver.follow(document.dns)
        self._responder.follow(Choices(**document.dnscheck.model_dump()))
        self.alerts.adopt(document.alerts, document.alert_recipient)
        for warning in certificate.warnings:
            self._log.warning(f"Certificates: {clean(warning)}")
        self._conservation.follow(document.conservation, Memory(document.conservation.memory_limit))

    def _context(self) -> SSLContext:
        return self._certificate.context()  # whichever is in force at the handshake

    def _reread_certificates(self) -> list[str]:
        return self._certificate.reload()

    def _alert_of_harvest(self, host: str, text: str) -> None:
        self.alerts.send(WARNING, "DHAP.HARVEST", text, about=host)

    def note_held(self, outcome: Outcome) -> None:
        """Tell people of a message that waits for them."""
        alert_of_held(self.alerts, outcome)

    def conservation(self, listeners: Listeners, journal: Journal, intakes: Sequence[Intake]) -> Conservation:
        """Make the service that measures and slows receiving."""
        machine, section = self._machine, self._document.conservation
        readings = Readings(
            sync_s=lambda: float(journal.status()["latency_s"]),
            backlog_percent=lambda: 100.0 * journal.status()["backlog_bytes"] / journal.settings.backlog_bytes,
            work_queue=lambda: sum(intake.working for intake in intakes),
            trouble=lambda: str(journal.refusal or ""),
        )
        self._conservation = Conservation(
            section,
            self.brake,
            Meter(self._socket.parent, machine.spool, Memory(section.memory_limit)),
            readings,
            listeners=listeners,
            hostname=machine.hostname,
            log=self._log,
            alerts=self._measured,
        )
        return self._conservation


def alert_of_held(alerts: Alerts, outcome: Outcome) -> None:
    """Tell people of a message that waits for them."""
    text = f"message {outcome.mid} waits in {HOLD_QUEUE}: {outcome.reason}. `releasehold` has it processed again."
    alerts.send(WARNING, "MAIL.HOLD_QUEUE", text)
