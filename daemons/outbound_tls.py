"""The parts of outbound TLS of delivery-queue: DANE, MTA-STS, the counters and reports about both."""

from core import clock
from core.dns import Resolver
from core.errors import ConfigError, Problem
from core.https import HttpsClient, HttpsSettings
from core.lifecycle import Service
from core.maillog import MailLog
from core.sqlite import DatabaseThread
from daemons.delivery import DestinationTable
from daemons.machine import Machine
from mail.delivery.tls import store
from mail.delivery.tls.config import DeliveryTlsSection
from mail.delivery.tls.dane import Dane
from mail.delivery.tls.plan import Means, PolicySecurity
from mail.delivery.tls.sts import StsPolicies
from mail.delivery.tls.tally import Tally


class OutboundTls:
    """What protects mail on its way out."""

    def __init__(
        self, machine: Machine, section: DeliveryTlsSection, names: Resolver, table: DestinationTable, log: MailLog
    ) -> None:
        """Open the database. Raises `ConfigError` for authorities that cannot be read."""
        authorities = str(machine.dir / section.authorities) if section.authorities else ""
        settings = HttpsSettings(section.mta_sts_port, authorities, section.mta_sts_timeout_s)
        self.database = DatabaseThread(machine.state / "delivery-tls.db", store.SCHEMA)
        self.https = HttpsClient(names, settings)
        self.tally = Tally(self.database, log=log, now=clock.now)
        self.sts = StsPolicies(names, self.https, self.database, log=log, now=clock.now)
        try:
            means = Means(self.tally, clock.now, authorities)
        except OSError as problem:
            raise ConfigError([Problem(authorities, "delivery_tls.authorities", str(problem))]) from problem
        self.security = PolicySecurity(table.tls, Dane(names), self.sts, means)

    @property
    def services(self) -> list[Service]:
        """Give what must run."""
        return [self.tally, self.sts]
