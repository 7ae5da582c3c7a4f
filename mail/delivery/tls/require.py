"""Messages with a wish of their own about TLS (RFC 8689): each over a connection of its own.

One that asks for REQUIRETLS goes to a verified host that offers it.

The SMTP line closes its own connection, which others share, and hands such a message here: the connection made for it
takes that one's place in the destination's limits. A host counts as verified by DANE, by MTA-STS or by an authority.
Where every host lacks that or the extension the message fails for good with 5.7.30; where one could only not be
reached, or has all the connections that it may have, it waits. Logs the connection's lines.

One that says `TLS-Required: No` goes over an `ExceptedLine` where the hosts fail the policy of the recipient domain.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.maillog import clean
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings
from core.smtp.target import Target
from mail.delivery.courier import Carried, Job, Kind, Result
from mail.delivery.limit import Limits
from mail.delivery.opening import MOST_TARGETS, Desk
from mail.delivery.resolve import Resolution
from mail.delivery.security import HostUnusable, Security, SecurityPlan
from mail.delivery.smtp_line import SmtpLine
from protocol.errors import TemporaryFailure
from protocol.smtp.failure import ClientFailure, ConnectError, Stage, TlsError


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections come from, and how many there may be."""

    settings: ConnectionSettings
    gateway: str = ""
    limits: Limits = field(default_factory=Limits)


class _Unfit(Exception):
    """A host answered and is not fit for the message."""


class _Full(Exception):
    """An address has as many connections as it may have."""


class _Nobody(Exception):
    """No host can have the message now."""

    def __init__(self, kind: Kind, code: int, enhanced: str, text: str) -> None:
        super().__init__(text)
        self.result = kind, code, enhanced, text


class RequireTls:
    """Carries messages that ask for REQUIRETLS."""

    def __init__(self, security: Security, desk: Desk) -> None:
        self._security = security
        self._desk = desk

    async def send(
        self,
        job: Job,
        domain: str,
        resolution: Resolution,
        origin: Origin,
        *,
        carried_by: Callable[[SmtpLine], None] = lambda _line: None,
    ) -> Sequence[Result]:
        """Carry one message; give a result for each recipient. `carried_by` is told of each line that it goes over."""
        try:
            plan = await self._security.plan(domain, resolution, "yes")
        except TemporaryFailure as problem:
            return _all(job, "soft", 451, "4.7.5", problem.reason or str(problem))
        try:
            line = await self._first(plan, domain, resolution, origin)
        except _Nobody as problem:
            return _all(job, *problem.result)
        carried_by(line)
        try:
            return await line.send(job)
        finally:
            await line.close()

    async def _first(self, plan: SecurityPlan, domain: str, resolution: Resolution, origin: Origin) -> SmtpLine:
        """Open a line to the first host that is fit. Raises `_Nobody`."""
        waits, full, reason = "", "", f"{domain} has no host that can be used"
        for target in resolution.targets()[:MOST_TARGETS]:
            try:
                return await self._open(plan, target, origin)
            except _Unfit as problem:
                reason = str(problem)
            except _Full as problem:
                full = str(problem)
            except ClientFailure as problem:
                waits = problem.text
        if waits:
            raise _Nobody("soft", 0, "4.4.1", waits)
        if full:
            raise _Nobody("soft", 451, "4.4.5", full)
        raise _Nobody("hard", 550, "5.7.30", f"REQUIRETLS support required: {reason}")

    async def _open(self, plan: SecurityPlan, target: Target, origin: Origin) -> SmtpLine:
        """Open a line to one host; it counts like all others to that address."""
        hosts, limits, at = self._desk.hosts, origin.limits, (origin.gateway, target.address)
        if limits.per_address and hosts.open(*at, per_gateway=limits.per_gateway) >= limits.connections:
            raise _Full(f"all {limits.connections} connections that {target.address} may have are open")
        dcid = self._desk.next_dcid()
        hosts.begin(*at)
        try:
            connection = await self._connected(plan, target, origin, dcid)
        except BaseException:
            hosts.end(*at)
            raise
        connection.when_lost(lambda: hosts.end(*at))
        self._prove(connection, dcid, plan.concluded(target, connection, None))
        return SmtpLine(connection, dcid, self._desk.log, self._desk.handling)

    async def _connected(self, plan: SecurityPlan, target: Target, origin: Origin, dcid: int) -> ClientConnection:
        try:
            return await connect(target, origin.settings, plan.settings(target))
        except (TlsError, HostUnusable) as problem:
            plan.concluded(target, None, problem)
            self._desk.log.info(f"DCID {dcid} IP {target.address} REQUIRETLS failed: {clean(problem.text)}")
            if problem.passing if isinstance(problem, TlsError) else problem.kind == "dnssec-invalid":
                raise ConnectError(problem.text, Stage.CONNECT) from problem
            raise _Unfit(f"{target.host}: {problem.text}") from problem

    def _prove(self, connection: ClientConnection, dcid: int, words: str) -> None:
        """Raise `_Unfit` where the host does not offer it; log the connection."""
        target, log = connection.target, self._desk.log
        if "REQUIRETLS" not in connection.offers:
            connection.close()
            log.info(f"DCID {dcid} IP {target.address} REQUIRETLS failed: not offered")
            raise _Unfit(f"{target.host} does not offer REQUIRETLS")
        log.info(
            f"New SMTP DCID {dcid} interface {connection.local_address} address {target.address} port {target.port}"
        )
        log.info(f"DCID {dcid} {words or 'TLS verified'} (REQUIRETLS)")


class ExceptedLine:
    """A line that the policy of the domain forbids: for one message that says `TLS-Required: No`, and no other."""

    excepted = True
    carried = 0

    def __init__(self, line: SmtpLine) -> None:
        self.dcid = line.dcid
        self.remote_ip = line.remote_ip
        self.remote_host = line.remote_host
        self._line = line
        self._used = False

    @property
    def usable(self) -> bool:
        """Whether it has not carried its message yet."""
        return not self._used and self._line.usable

    @property
    def moved_at_s(self) -> float:
        """Loop time of the last progress on the connection."""
        return self._line.moved_at_s

    async def send(self, job: Job) -> Sequence[Result]:
        """Carry a message; one that does not say `TLS-Required: No` goes back to the queue."""
        self._used = True
        if job.accepted.require_tls != "no":
            return _all(job, "returned", 0, "", "this connection is not protected as it must be")
        return await self._line.send(job)

    def lend(self, recall: Callable[[], bool]) -> None:
        """Do nothing: no other message may go this way."""

    async def close(self) -> None:
        """Say QUIT."""
        await self._line.close()


def _all(job: Job, kind: Kind, code: int, enhanced: str, text: str) -> list[Carried]:
    return [Carried(one.rid, kind, code, enhanced, text) for one in job.recipients]
