"""The ordinary courier: resolves a domain, connects to one of its hosts, and carries messages by SMTP.

The dispatcher calls it through the shapes of `mail/delivery/courier.py`. An address that could not be reached is
passed over for a minute as long as there are others. Logs the connection's lines; raises `BadDestination`,
`NoDestination` or the `ClientFailure` of the last address tried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.clock import Clock
from core.maillog import clean
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings
from core.smtp.target import Target
from mail.delivery.courier import Line
from mail.delivery.gateway import Source, VirtualGateways
from mail.delivery.resolve import DestinationResolver, NoDestination, Resolution
from mail.delivery.security import HostUnusable, Security
from mail.delivery.smtp_line import ORDINARY, Handling, NullLine, SmtpLine
from mail.queue.importer import Log
from protocol.errors import TemporaryFailure
from protocol.smtp.failure import ClientFailure, TlsError

MOST_TARGETS = 5
"""Addresses tried for one connection."""
AVOID_S = 60.0
MOST_KNOWN = 20_000
"""Domains, and addresses to avoid, that are remembered; the oldest go."""


@dataclass(slots=True)
class Known:
    """What is known about where a domain's mail goes."""

    resolution: Resolution
    until: float
    turn: int = 0
    last_tls_error: str = ""


class SmtpCourier:
    """Opens SMTP connections to recipient domains."""

    def __init__(
        self,
        resolver: DestinationResolver,
        settings: ConnectionSettings,
        *,
        security: Security,
        next_dcid: Callable[[], int],
        log: Log,
        now: Clock,
        handling: Handling = ORDINARY,
        gateways: VirtualGateways | None = None,
    ) -> None:
        """`security` says how connections are protected; `now` only measures.

        `gateways` says where connections come from; without it they come from where `settings` says.
        """
        self._resolver = resolver
        self._settings = settings
        self._security = security
        self._next_dcid = next_dcid
        self._log = log
        self._now = now
        self._handling = handling
        self._gateways = gateways
        self._known: dict[str, Known] = {}
        self._by_source: dict[Source, ConnectionSettings] = {}
        self._avoided: dict[str, float] = {}

    def known(self, destination: str) -> Known | None:
        """Give what the last resolution of a domain said, for operators."""
        return self._known.get(destination)

    def facts(self, destination: str) -> dict[str, Any]:
        """Give what `hoststatus` shows of a domain's last resolution; nothing if there was none."""
        known = self._known.get(destination)
        if known is None:
            return {}
        return {
            "addresses": [f"{one.address}:{one.port}" for one in known.resolution.targets(known.turn)],
            "mx": [{"preference": one.preference, "host": one.host} for one in known.resolution.mx],
            "last_tls_error": known.last_tls_error or None,
        }

    def forget(self) -> None:
        """Resolve every domain anew, because the routes are others."""
        self._known.clear()
        self._by_source.clear()

    async def open(self, destination: str, target: str) -> Line:
        """Connect to one of the hosts of a domain; `target` is the virtual gateway to come from."""
        known = await self._resolve(destination)
        if known.resolution.drop:
            return NullLine()
        known.turn += 1
        plan = await self._security.plan(destination, known.resolution)
        failure: TemporaryFailure | None = None
        settings = self._settings_of(target)
        for address in self._order(known.resolution.targets(known.turn), settings.source_address):
            try:
                tls = plan.settings(address)
            except HostUnusable as problem:
                failure = problem
                known.last_tls_error = clean(problem.text)
                plan.concluded(address, None, problem)
                continue
            dcid = self._next_dcid()
            try:
                connection = await connect(address, settings, tls)
            except ClientFailure as problem:
                failure = problem
                plan.concluded(address, None, problem)
                self._failed(known, dcid, address, problem, settings.source_address)
                continue
            plan.concluded(address, connection, None)
            self._avoided.pop(address.address, None)
            self._opened(known, dcid, connection)
            return SmtpLine(connection, dcid, self._log, self._handling)
        where = f" that {settings.source_address} can reach" if settings.source_address else ""
        raise failure or NoDestination(f"{destination} has no address{where}")

    async def _resolve(self, destination: str) -> Known:
        known = self._known.get(destination)
        if known is None or known.until <= self._now():
            resolution = await self._resolver.resolve(destination)
            known = Known(resolution, self._now() + resolution.ttl_s, known.turn if known else 0)
            self._known.pop(destination, None)
            if len(self._known) >= MOST_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[destination] = known
        return known

    def _settings_of(self, gateway: str) -> ConnectionSettings:
        """Give the settings of the next connection of a virtual gateway."""
        if self._gateways is None:
            return self._settings
        source = self._gateways.source(gateway)
        found = self._by_source.get(source)
        if found is None:
            client = replace(self._settings.client, helo=source.hostname)
            found = replace(self._settings, client=client, source_address=source.address)
            self._by_source[source] = found
        return found

    def _order(self, targets: Sequence[Target], source_address: str) -> list[Target]:
        """Put addresses that failed a moment ago behind the others; leave out what the source cannot reach."""
        now = self._now()
        if source_address:
            targets = [one for one in targets if (":" in one.address) == (":" in source_address)]
        late = [one for one in targets if self._avoided.get(one.address, 0.0) > now]
        return [*(one for one in targets if one not in late), *late][:MOST_TARGETS]

    def _failed(self, known: Known, dcid: int, address: Target, problem: ClientFailure, source: str = "") -> None:
        now = self._now()
        self._avoided.pop(address.address, None)
        self._avoided[address.address] = now + AVOID_S
        while len(self._avoided) > MOST_KNOWN or next(iter(self._avoided.values())) <= now:
            del self._avoided[next(iter(self._avoided))]
        if isinstance(problem, TlsError):
            known.last_tls_error = clean(problem.text)
            self._log.info(f"DCID {dcid} TLS failed: {clean(problem.text)}")
        self._log.info(
            f"Connection Error: DCID: {dcid} IP: {address.address} details: {clean(problem.text)}"
            f" interface: {source or 'auto'} reason: {problem.party} ({problem.stage})"
        )

    def _opened(self, known: Known, dcid: int, connection: ClientConnection) -> None:
        target = connection.target
        self._log.info(
            f"New SMTP DCID {dcid} interface {connection.local_address} address {target.address} port {target.port}"
        )
        if connection.tls_error is not None:
            known.last_tls_error = f"Preferred - {clean(connection.tls_error.text)}"
            self._log.info(f"DCID {dcid} TLS failed: {clean(connection.tls_error.text)}")
        if connection.tls is not None:
            tls = connection.tls
            self._log.info(f"DCID {dcid} TLS success protocol {tls.version} cipher {tls.cipher}")
