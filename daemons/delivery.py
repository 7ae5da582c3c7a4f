"""Settings of delivery from the configuration: limits by destination, routes, TLS, connections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from core.dns import Resolver, resolver_of
from core.log.debug import DomainDebug
from core.own_address import OwnAddresses
from core.record import CHANNEL, CPQ_HOST, RELEASE_HOST
from core.smtp.client_settings import FOREVER, ConnectionSettings, Timeouts
from daemons.config import Esa, Sma
from daemons.machine import Machine
from daemons.wiring import bounce_tags
from mail.bounce.config import BounceProfileSection
from mail.bounce.profile import BounceProfile
from mail.bounce.text import Text
from mail.config import ListenerSection
from mail.delivery.config import DestinationSection
from mail.delivery.gateway import AUTO, Source, VirtualGateways
from mail.delivery.limit import Limits
from mail.delivery.opening import MOST_TARGETS
from mail.delivery.resolve import DestinationResolver
from mail.delivery.route import Family, Route, SmtpRoutes
from mail.delivery.security import Rule
from mail.delivery.smtp_line import Handling
from mail.delivery.unsubscribe import Unsubscribed, read
from mail.queue.outcome_log import OutcomeLogs
from mail.queue.queue import QueueSettings
from mail.queue.report import ReportSettings
from mail.queue.watch import Patience
from protocol.domain import canonical
from protocol.smtp.client_settings import ClientSettings
from protocol.smtp.failure import Stage

_FOREVER_S = 10 * 365 * 86_400.0
_CHANNEL = Limits(
    connections=20,
    profile=BounceProfile(
        name="quarantine channel",
        max_retries=1_000_000_000,
        max_in_queue_s=_FOREVER_S,
        initial_retry_s=1,
        max_retry_s=15,
        hard_bounce="off",
        delay_warnings="off",
    ),
)
"""Mail on the quarantine channel waits as long as it takes, and is tried again soon."""


class DestinationTable:
    """What a destination name is granted; one that is not listed has a copy of DEFAULT."""

    def __init__(self, destinations: Sequence[DestinationSection], profiles: Sequence[BounceProfileSection]) -> None:
        rows = {canonical(row.domain): row for row in destinations}
        self._default = rows.get("default", DestinationSection())
        self._rows = {name: row.inheriting(self._default) for name, row in rows.items()}
        known = {section.name.lower(): section.profile() for section in profiles}
        self.profiles = {"default": BounceProfileSection().profile()} | known
        """Bounce profiles by lower case name."""
        self._limits = {name: self._granted(row) for name, row in self._rows.items()}
        self._default_limits = self._granted(self._default)

    def adopt(self, other: "DestinationTable") -> None:
        """Become what another one is, for all that hold this one."""
        self.__dict__.update(other.__dict__)

    def _row(self, name: str) -> DestinationSection:
        return self._rows.get(canonical(name), self._default)

    def limits(self, name: str) -> Limits:
        """Give the limits of a destination."""
        if name in CHANNEL:
            return _CHANNEL
        return self._limits.get(canonical(name), self._default_limits)

    def _granted(self, row: DestinationSection) -> Limits:
        # Where no row chooses, the choice of the listener counts.
        implied = replace(self.profiles["default"], implied=True)
        profile = self.profiles[row.bounce_profile.lower()] if row.bounce_profile else implied
        return Limits(
            row.max_connections,
            row.max_messages_per_connection,
            profile=profile,
            recipient_limit=row.recipient_limit,
            recipient_minutes=row.recipient_minutes or 60,
            per_address=row.limit_type == "mxip",
            per_gateway=row.limit_apply == "gateway",
        )

    def tagged(self, name: str) -> bool:
        """Say whether mail to a destination leaves with a tagged envelope sender."""
        return self._row(name).bounce_verification

    def tls(self, name: str) -> Rule:
        """Say how TLS is used towards a destination."""
        row = self._row(name)
        return Rule(row.tls, row.dane, row.mta_sts)

    def family(self, name: str) -> Family:
        """Say which addresses of a destination are called."""
        return self._row(name).ip_preference


def queue_settings(
    machine: Machine,
    document: Esa | Sma,
    table: DestinationTable,
    *,
    unsubscribed: Unsubscribed,
    texts: Mapping[str, Text],
) -> QueueSettings:
    """Build the queue's settings."""
    bounces = document.bounces
    return QueueSettings(
        hostname=machine.hostname,
        limits=table.limits,
        unsubscribed=unsubscribed,
        profiles=table.profiles,
        reports=ReportSettings(texts, bounces.max_per_hour, bounces.max_per_domain_per_hour),
        always=(CPQ_HOST if machine.role == "esa" else RELEASE_HOST,),
        ready_limit=document.queue.ready_per_destination,
        connections=document.delivery.max_connections,
        idle_close_s=document.delivery.idle_close_s,
        patience=patience(connection_settings(machine, document)),
    )


def patience(settings: ConnectionSettings) -> Patience:
    """Give the watchdog the longest that the courier's own time-outs allow, and two minutes more."""
    limits = settings.timeouts.by_stage()
    first = (Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.STARTTLS, Stage.TLS, Stage.EHLO)
    # Each address may be called twice, the second time without TLS.
    opening_s = 2 * MOST_TARGETS * sum(limits[stage] for stage in first)
    return Patience(open_s=opening_s + 120, step_s=max(one for one in limits.values() if one < FOREVER) + 120)


def handling(machine: Machine, document: Esa | Sma, table: DestinationTable) -> Handling:
    """Say what happens to messages on their way out. Raises `ConfigError` for keys that cannot be read."""
    section = document.delivery
    tags = bounce_tags(machine, document)

    def mail_from(sender: str, domain: str) -> str:
        return tags.add(sender) if table.tagged(domain) else sender

    debug = DomainDebug(machine.logs, machine.mail_log())
    return Handling(section.eight_bit, section.possible_delivery, mail_from if tags.tagging else None, debug)


def logs_of_outcomes(machine: Machine) -> OutcomeLogs:
    """Open the bounce log and the delivery log, which are flushed with the mail log."""
    bounces, deliveries = machine.log("bounce"), machine.log("delivery")
    machine.mail_log().companions += [bounces, deliveries]
    return OutcomeLogs(bounces, deliveries)


def smtp_routes(document: Esa | Sma) -> SmtpRoutes:
    """Build the table of routes."""
    return SmtpRoutes(Route(row.domain, row.hosts) for row in document.route)


def name_resolver(document: Esa | Sma) -> Resolver:
    """Build the resolver of names."""
    return resolver_of(document.dns)


def destination_resolver(
    machine: Machine, document: Esa | Sma, table: DestinationTable, routes: SmtpRoutes, resolver: Resolver
) -> DestinationResolver:
    """Build the resolver of recipient domains."""
    listeners: Sequence[ListenerSection] = document.listener if isinstance(document, Esa) else ()
    port = document.delivery.port
    own = OwnAddresses(listener.address for listener in listeners if listener.port in (25, port))
    names = (machine.hostname,)
    return DestinationResolver(resolver, routes, port=port, own_names=names, own_addresses=own, family=table.family)


def connection_settings(machine: Machine, document: Esa | Sma) -> ConnectionSettings:
    """Build what every outbound connection has in common."""
    section = document.delivery
    timeouts = Timeouts(
        connect_s=section.connect_timeout_s,
        greeting_s=section.greeting_timeout_s,
        hello_s=section.command_timeout_s,
        command_s=section.command_timeout_s,
        envelope_s=section.command_timeout_s,
        final_s=section.final_timeout_s,
    )
    return ConnectionSettings(ClientSettings(machine.hostname), timeouts, section.source_address)


def virtual_gateways(machine: Machine, document: Esa | Sma, warn: Callable[[str], None]) -> VirtualGateways:
    """Build the virtual gateways; `warn` gets a line for each name that mail asks for and that is gone."""
    section = document.delivery
    auto = Source(AUTO, section.source_address, machine.hostname)
    interfaces = [Source(row.name, row.address, row.hostname) for row in document.interface]
    groups = {row.name: row.interfaces for row in document.interface_group}
    return VirtualGateways(auto, interfaces, groups, default=section.default_interface, warn=warn)


def unsubscribe_list(machine: Machine, document: Esa | Sma) -> Unsubscribed:
    """Read the global unsubscribe list; one that is switched off is checked all the same. Raises `ConfigError`."""
    section = document.unsubscribe
    file = machine.dir / section.file if section.file else None
    found = read(section.entries, file, section.action, str(machine.config))
    return found if section.enabled else Unsubscribed()
