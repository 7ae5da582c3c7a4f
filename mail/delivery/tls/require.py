"""Messages with a wish of their own about TLS (RFC 8689): each over a connection of its own.

One that asks for REQUIRETLS goes to a verified host that offers it.

The SMTP line hands such a message here; the line itself, which others share, is not used for it. A host counts as
verified by DANE, by MTA-STS or by an authority. Where every host lacks that or the extension the message fails for good
with 5.7.30; where one could only not be reached, it waits. Logs the connection's lines.

One that says `TLS-Required: No` goes over an `ExceptedLine` where the hosts fail the policy of the recipient domain.
"""

from collections.abc import Callable, Sequence

from core.maillog import Log, clean
from core.smtp.client import ClientConnection, connect
from core.smtp.client_settings import ConnectionSettings
from core.smtp.target import Target
from mail.delivery.courier import Carried, Job, Kind, Result
from mail.delivery.opening import MOST_TARGETS
from mail.delivery.resolve import Resolution
from mail.delivery.security import HostUnusable, Security, SecurityPlan
from mail.delivery.smtp_line import Handling, SmtpLine
from protocol.errors import TemporaryFailure
from protocol.smtp.failure import ClientFailure, ConnectError, Stage, TlsError


class _Unfit(Exception):
    """A host answered and is not fit for the message."""


class RequireTls:
    """Carries messages that ask for REQUIRETLS."""

    def __init__(self, security: Security, next_dcid: Callable[[], int], log: Log, handling: Handling) -> None:
        self._security = security
        self._next_dcid = next_dcid
        self._log = log
        self._handling = handling

    async def send(
        self,
        job: Job,
        domain: str,
        resolution: Resolution,
        settings: ConnectionSettings,
        *,
        carried_by: Callable[[SmtpLine], None] = lambda _line: None,
    ) -> Sequence[Result]:
        """Carry one message; give a result for each recipient. `carried_by` is told of each line that it goes over."""
        waits, reason = "", f"{domain} has no host that can be used"
        try:
            plan = await self._security.plan(domain, resolution, "yes")
        except TemporaryFailure as problem:
            return _all(job, "soft", 451, "4.7.5", problem.reason or str(problem))
        for target in resolution.targets()[:MOST_TARGETS]:
            dcid = self._next_dcid()
            try:
                connection = await self._open(plan, target, settings, dcid)
            except _Unfit as problem:
                reason = str(problem)
            except ClientFailure as problem:
                waits = problem.text
            else:
                line = SmtpLine(connection, dcid, self._log, self._handling)
                carried_by(line)
                try:
                    return await line.send(job)
                finally:
                    await line.close()
        if waits:
            return _all(job, "soft", 0, "4.4.1", waits)
        return _all(job, "hard", 550, "5.7.30", f"REQUIRETLS support required: {reason}")

    async def _open(
        self, plan: SecurityPlan, target: Target, settings: ConnectionSettings, dcid: int
    ) -> ClientConnection:
        try:
            connection = await connect(target, settings, plan.settings(target))
        except (TlsError, HostUnusable) as problem:
            plan.concluded(target, None, problem)
            self._log.info(f"DCID {dcid} IP {target.address} REQUIRETLS failed: {clean(problem.text)}")
            if problem.passing if isinstance(problem, TlsError) else problem.kind == "dnssec-invalid":
                raise ConnectError(problem.text, Stage.CONNECT) from problem
            raise _Unfit(f"{target.host}: {problem.text}") from problem
        words = plan.concluded(target, connection, None)
        if "REQUIRETLS" not in connection.offers:
            connection.close()
            self._log.info(f"DCID {dcid} IP {target.address} REQUIRETLS failed: not offered")
            raise _Unfit(f"{target.host} does not offer REQUIRETLS")
        self._log.info(
            f"New SMTP DCID {dcid} interface {connection.local_address} address {target.address} port {target.port}"
        )
        self._log.info(f"DCID {dcid} {words or 'TLS verified'} (REQUIRETLS)")
        return connection


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
