"""The parts of outbound TLS of delivery-queue: DANE, MTA-STS, the reports about both, and `tlsverify`."""

import asyncio
from collections.abc import Callable

from core import clock
from core.control import Handler
from core.errors import ConfigError, Problem
from core.https import HttpsClient, HttpsSettings
from core.journal import Journal
from core.lifecycle import Service
from core.maillog import MailLog
from core.record import Accepted, Outcome, Recipient, encode
from core.sqlite import DatabaseThread
from core.switch import Prepared, prompt
from daemons.config import Esa, Sma
from daemons.delivery import connection_settings
from daemons.machine import Machine, outbound_contexts
from daemons.tables import RunningTables
from mail.delivery.tls import store
from mail.delivery.tls.dane import Dane
from mail.delivery.tls.plan import Means, PolicySecurity
from mail.delivery.tls.report import Reporter, TlsReports
from mail.delivery.tls.sts import StsPolicies
from mail.delivery.tls.tally import Tally
from mail.delivery.tls.verify import Verifier


class OutboundTls:
    """What protects mail on its way out."""

    def __init__(self, machine: Machine, document: Esa | Sma, tables: RunningTables, log: MailLog) -> None:
        """Open the database. Raises `ConfigError` for authorities that cannot be read."""
        section, names = document.delivery_tls, tables.names
        authorities = str(machine.dir / section.authorities) if section.authorities else ""
        self._database = database = DatabaseThread(machine.state / "delivery-tls.db", store.SCHEMA)
        https = HttpsClient(names, HttpsSettings(section.mta_sts_port, authorities, section.mta_sts_timeout_s))
        self._tally = Tally(database, log=log, now=clock.now)
        self._sts = StsPolicies(names, https, database, log=log, now=clock.now)
        try:
            self._contexts = outbound_contexts(machine)
        except OSError as problem:
            raise ConfigError([Problem(authorities, "delivery_tls.authorities", str(problem))]) from problem
        means = Means(self._tally, clock.now, authorities, self._contexts)
        self.security = PolicySecurity(tables.destinations.tls, Dane(names), self._sts, means)
        self._verifier = Verifier(tables.resolver, self.security, lambda: connection_settings(machine, document))
        self._hostname = machine.hostname
        self._reports = TlsReports(
            database,
            self._tally,
            who=self._who(document),
            resolver=names,
            https=https,
            submit=self._submit,
            folder=machine.state / "tls-reports",
            enabled=document.tls_report.enabled,
            log=log,
            now=clock.now,
        )
        self._mids = machine.numbers("mid")
        self._log = log

    def _who(self, document: Esa | Sma) -> Reporter:
        section, name = document.tls_report, self._hostname
        return Reporter(section.organization or name, section.contact or f"postmaster@{name}", name)

    async def prepare(self, candidate: Machine) -> Prepared:
        """Make the contexts of another document; connections keep what they have. Raises `ConfigError`."""
        try:
            found = await asyncio.to_thread(outbound_contexts, candidate)
        except OSError as problem:
            raise ConfigError([Problem("", "tls.delivery_certificate", str(problem))]) from problem
        return Prepared(prompt(lambda: self._contexts.adopt(found)))

    def reconfigure(self, document: Esa | Sma) -> None:
        """Take what a document that was read again says of reports; the rest of outbound TLS is as at start."""
        self._reports.reconfigure(self._who(document), enabled=document.tls_report.enabled)

    def verbs(self, journal: Journal, poke: Callable[[str], None]) -> dict[str, Handler]:
        """Give the handlers of the control socket; reports go into `journal`, and `poke` says that it has news."""
        self._journal, self._poke = journal, poke
        return {"tlsverify": self._verifier.verb, "tlsreport": self._reports.verb}

    def _submit(self, to: str, message: bytes) -> None:
        """Queue a report, with the null sender."""
        self._tally.excuse(to.rpartition("@")[2].lower())
        mid = self._mids.next()
        content = self._journal.content()
        content.write(message)
        rows = [Recipient(0, to)]
        accepted = Accepted(mid, 0, clock.now(), "", rows, len(message), listener="TLS reports", require_tls="no")

        def done(error: Exception | None) -> None:
            if error is not None:
                self._log.warning(f"MID {mid}: a TLS report could not be recorded: {error}")
                return
            self._log.info(f"Start MID {mid} ICID 0 (TLS report)")
            self._log.info(f"MID {mid} queued for delivery")
            self._poke(self._journal.directory.name)

        self._journal.append(mid, encode(accepted), content, encode(Outcome(mid, "deliver")), done)

    @property
    def services(self) -> list[Service]:
        """Give what must run."""
        return [self._tally, self._sts, self._reports]
