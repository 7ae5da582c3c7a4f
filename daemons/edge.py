"""The edge of a gateway: its listeners with their doors and certificates, and resource conservation, for its root.

The first gateway of a machine sends the alerts; the others measure the same and would only repeat them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from core.alert import WARNING, Alerts
from core.dns import Resolver
from core.journal.journal import Journal
from core.maillog import MailLog
from core.memory import Memory
from core.record import HOLD_QUEUE, Outcome
from core.smtp.door import Brake, Door
from core.smtp.listener import SmtpListener
from core.smtp.session import SessionFactory
from core.smtp.settings import ListenerSettings
from core.switch import Prepared, prompt
from daemons.alerting import alerts_of
from daemons.config import Document, Esa
from daemons.machine import Machine
from daemons.renew import Renewal
from daemons.wiring import bounce_tags, verification_of, with_handler
from mail.access import build_access, listener_settings
from mail.bounce.tag import Tags
from mail.config import ListenerSection
from mail.edge.conserve import Conservation, Meter, Readings
from mail.edge.door import build_door
from mail.intake import Intake
from mail.listeners import Listeners
from mail.login.attempt import Logins
from mail.login.users import Users
from mail.receive import Gateway, GatewaySession

_Ways = tuple[ListenerSettings, SessionFactory, Door]


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
        self._document = document
        self._tags = bounce_tags(machine, document)
        self._made: dict[str, SmtpListener] = {}
        self._shared: Gateway
        self._sections = {section.name: section for section in document.listener}
        self._certificate = machine.certificate()
        self._resolver = Resolver(document.dns.servers, timeout_s=document.dns.timeout_s)
        self.alerts = alerts_of(machine, document, self._who, log, self._resolver, silent=instance > 0)
        self.certificates = Renewal(self._certificate.reload, log, self.alerts)

    def lookups(self) -> Mapping[str, int]:
        """Count the DNS lookups since the start."""
        return self._resolver.statistics.counts()

    @property
    def names(self) -> list[str]:
        """The listeners."""
        return list(self._sections)

    def listener(self, shared: Gateway, name: str, suspended: bool) -> SmtpListener:
        """Make a listener."""
        self._shared = shared
        bound, session, door = self._ways(self._document, self._sections[name], self.logins.users, self._tags)
        made = SmtpListener(
            bound, session, tls=self._certificate.context, log=self._log, door=door, suspended=suspended
        )
        self._made[name] = made
        return made

    def _ways(self, document: Esa, section: ListenerSection, users: Users, tags: Tags) -> _Ways:
        access = build_access(section, verification_of(document, section, tags))
        bound = listener_settings(
            section, self._machine.hostname, tls=True, reuse_port=True, mechanisms=users.mechanisms
        )
        session: SessionFactory = partial(GatewaySession, self._shared, access)
        bound, session = with_handler(self._machine, section, bound, session)
        door = build_door(section, access, resolver=self._resolver, brake=self.brake, log=self._log)
        return bound, session, door

    async def prepare(self, candidate: Machine) -> Prepared:
        """Read tables, policies, limits and users of another document: new connections go by them, none ends."""
        users, ways = await asyncio.to_thread(self._rebuilt, candidate.document)
        moved = set(ways) ^ set(self._made)

        def apply() -> None:
            self.logins.users = users
            restart = sorted(moved)
            for name in set(ways) & set(self._made):
                if not self._made[name].follow(*ways[name]):
                    restart.append(name)
            if restart:
                self._log.warning(f"Address, port, kind of port or number of listeners changes by a restart: {restart}")
            self._log.info(f"Listeners reloaded: {len(ways)}; users that may log in: {users.count}")

        return Prepared(prompt(apply))

    def _rebuilt(self, document: Document) -> tuple[Users, dict[str, _Ways]]:
        assert isinstance(document, Esa), "only a gateway has an edge"
        users, tags = Users(document.smtp_user), bounce_tags(self._machine, document)
        return users, {row.name: self._ways(document, row, users, tags) for row in document.listener}

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
        return Conservation(
            section,
            self.brake,
            Meter(self._socket.parent, machine.spool, Memory(section.memory_limit)),
            readings,
            listeners=listeners,
            hostname=machine.hostname,
            log=self._log,
            alerts=self.alerts,
        )


def alert_of_held(alerts: Alerts, outcome: Outcome) -> None:
    """Tell people of a message that waits for them."""
    text = f"message {outcome.mid} waits in {HOLD_QUEUE}: {outcome.reason}. `releasehold` has it processed again."
    alerts.send(WARNING, "MAIL.HOLD_QUEUE", text)
