"""The ordinary courier: resolves a domain, connects to one of its hosts, and carries messages by SMTP.

The dispatcher calls it through the shapes of `mail/delivery/courier.py`; `mail/delivery/opening.py` does the searching,
`mail/delivery/smtp_line.py` the carrying. Raises `BadDestination`, `NoDestination`, `Busy` or the failure of the last
address tried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core import clock
from core.clock import Clock
from core.maillog import Log, clean
from core.smtp.client_settings import ConnectionSettings
from mail.delivery.choice import EightBit
from mail.delivery.courier import Job, Line, Result
from mail.delivery.gateway import Source, VirtualGateways
from mail.delivery.host import HostTable
from mail.delivery.limit import Limits
from mail.delivery.opening import Desk, Search, Wanted
from mail.delivery.pool import Pool
from mail.delivery.resolve import DestinationResolver, NoDestination, Resolution
from mail.delivery.security import HostUnusable, Security, Wish
from mail.delivery.smtp_line import ORDINARY, Handling, NullLine, SmtpLine
from mail.delivery.tls.require import ExceptedLine, Origin, RequireTls
from protocol.domain import canonical
from protocol.smtp.failure import TlsError

MOST_KNOWN = 20_000
"""Domains that are remembered; the oldest go."""


@dataclass(slots=True)
class Known:
    """What is known about where a domain's mail goes."""

    resolution: Resolution
    until: float
    turn: int = 0
    last_tls_error: str = ""
    gateways: dict[str, None] = field(default_factory=dict)
    """Virtual gateways that its mail left by."""


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
        limits: Callable[[str], Limits] = lambda _domain: Limits(),
    ) -> None:
        """`security` says how connections are protected; `now` only measures; `limits` are those of a destination.

        `gateways` says where connections come from; without it they come from where `settings` says.
        """
        self._resolver = resolver
        self._settings = settings
        self._security = security
        self._now = now
        self._limits = limits
        self._hosts = HostTable(now, clock.now)
        self._desk = Desk(self._hosts, Pool(), next_dcid, log, handling)
        self._require_tls = RequireTls(security, self._desk)
        self._gateways = gateways
        self._known: dict[str, Known] = {}
        self._by_source: dict[Source, ConnectionSettings] = {}
        self._tls_failures = 0
        self.unprotected: Callable[[str, str], None] = lambda _domain, _why: None
        """Told of domains whose mail waits because TLS is demanded and not to be had, and why."""

    def known(self, destination: str) -> Known | None:
        """Give what the last resolution of a domain said, for operators."""
        return self._known.get(destination)

    def facts(self, destination: str) -> dict[str, Any]:
        """Give what `hoststatus` shows of a domain's last resolution; nothing if there was none."""
        known = self._known.get(destination)
        if known is None:
            return {}
        return {
            "addresses": self._hosts.facts(list(known.gateways) or [""], known.resolution.targets(known.turn)),
            "mx": [{"preference": one.preference, "host": one.host} for one in known.resolution.mx],
            "last_tls_error": known.last_tls_error or None,
        }

    def counts(self) -> dict[str, int]:
        """Give the connections that could not be protected as they should, by the name of the counter."""
        return {"tls_failures": self._tls_failures}

    def forget(self, *, moved: bool = True) -> None:
        """Resolve every domain anew; where mail goes, or how, has `moved`, open connections carry no other message."""
        self._known.clear()
        self._by_source.clear()
        if moved:
            self._desk.pool.outdate()

    def handle(self, eight_bit: EightBit, possible_delivery: bool) -> None:
        """Have the lines to come treat messages so."""
        changed = replace(self._desk.handling, eight_bit=eight_bit, possible_delivery=possible_delivery)
        self._desk.handling = changed

    async def open(self, destination: str, target: str, wish: str = "") -> Line:
        """Connect to one of the hosts of a domain; `target` is the virtual gateway to come from.

        With the wish `no`, where no host meets the domain's own policy, connect without that policy (RFC 8689 5).
        """
        known = await self._resolve(destination)
        if known.resolution.drop:
            return NullLine()
        known.turn += 1
        known.gateways[target] = None
        settings = self._settings_of(target)
        try:
            line = await self._search(destination, target, known, settings)
        except (TlsError, HostUnusable) as problem:
            if wish != "no":
                self.unprotected(destination, problem.text)
                raise
            line = await self._search(destination, target, known, settings, "no")
            self._desk.log.info(f"DCID {line.dcid} TLS-Required: No sets aside: {clean(problem.text)}")
            return ExceptedLine(line)

        async def strictly(job: Job, carried_by: Callable[[SmtpLine], None]) -> Sequence[Result]:
            origin = Origin(settings, target, self._limits(destination))
            return await self._require_tls.send(
                job, canonical(destination), known.resolution, origin, carried_by=carried_by
            )

        line.strictly = strictly
        return line

    async def _search(
        self, destination: str, gateway: str, known: Known, settings: ConnectionSettings, wish: Wish = ""
    ) -> SmtpLine:
        plan = await self._security.plan(canonical(destination), known.resolution, wish)

        def tls_failed(text: str) -> None:
            self._tls_failures += 1
            if not wish:
                known.last_tls_error = text

        wanted = Wanted(destination, gateway, settings, self._limits(destination), plan, tls_failed)
        return await Search(self._desk, wanted).line(known.resolution.targets(known.turn))

    async def _resolve(self, destination: str) -> Known:
        known = self._known.get(destination)
        if known is None or known.until <= self._now():
            try:
                resolution = await self._resolver.resolve(canonical(destination))
            except NoDestination as problem:
                if problem.lookup:
                    self._desk.log.info(f"DNS Temporary Failure {clean(problem.lookup)}")
                raise
            before = known or Known(resolution, 0)
            known = replace(before, resolution=resolution, until=self._now() + resolution.ttl_s)
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
