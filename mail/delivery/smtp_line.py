"""One open SMTP connection as the dispatcher uses it: a job of the queue in, a result for each recipient out.

Made by the SMTP courier. Decides what a reply, or the want of one, means for a recipient; recipients over the peer's
limit for one transaction go in the next (RFC 5321 4.5.3.1.10). Logs what ended a connection and possible deliveries.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from core.log.debug import DomainDebug
from core.maillog import Log, clean
from core.record import Recipient
from core.smtp.client import ClientConnection
from mail.delivery.carriage import prepare
from mail.delivery.choice import EightBit
from mail.delivery.courier import Carried, Job, Kind, Result
from protocol.errors import PermanentFailure
from protocol.reply import Reply
from protocol.smtp.failure import ClientFailure, PeerClosed, Stage, TimedOut
from protocol.smtp.transaction import Transaction, TransactionResult

Strictly = Callable[[Job, Callable[["SmtpLine"], None]], Awaitable[Sequence[Result]]]
"""Carries a message, and says by which line."""


@dataclass(frozen=True, slots=True)
class Handling:
    """What a line does with messages."""

    eight_bit: EightBit = "convert"
    possible_delivery: bool = False
    """No reply to the whole content counts as delivered."""
    mail_from: Callable[[str, str], str] | None = None
    """Gives the envelope sender to use for a sender and a recipient domain: tags of bounce verification."""
    debug: DomainDebug | None = None
    """Looks at connections that a domain debug log may be about."""


ORDINARY = Handling()


class SmtpLine:
    """One open SMTP connection, for one destination."""

    excepted = False

    def __init__(
        self,
        connection: ClientConnection,
        dcid: int,
        log: Log,
        handling: Handling = ORDINARY,
        *,
        broken: Callable[[ClientFailure], None] = lambda _failure: None,
    ) -> None:
        """`broken` hears of a failure in the middle of a message."""
        self.dcid = dcid
        self.remote_ip = connection.target.address
        self.remote_host = connection.target.host
        self._connection = connection
        self._interface = connection.local_address
        self._log = log
        self._handling = handling
        self._broken = broken
        self._recall: Callable[[], bool] = lambda: False
        self._successor: SmtpLine | None = None
        self._instead: SmtpLine | None = None
        """The line by which the message at hand goes, if not by this one."""
        self._closed = False
        self.outdated = False
        """It was opened under other tables: it carries what it has begun and nothing more."""
        self.strictly: Strictly | None = None
        """Who carries messages that ask for REQUIRETLS instead of this line, which others share (RFC 8689)."""

    @property
    def usable(self) -> bool:
        """Whether another message may be sent."""
        return self._open and not self.outdated

    @property
    def _open(self) -> bool:
        return self._successor is None and self._connection.usable

    @property
    def carried(self) -> int:
        """Messages that this connection was given so far, whatever their destination."""
        return self._connection.transactions

    @property
    def moved_at_s(self) -> float:
        """Loop time of the last progress on the connection, or on the one that carries the message at hand."""
        own = self._connection.moved_at_s
        return own if self._instead is None else max(own, self._instead.moved_at_s)

    @property
    def latest(self) -> "SmtpLine":
        """The line that this connection goes by now."""
        return self if self._successor is None else self._successor.latest

    def lend(self, recall: Callable[[], bool]) -> None:
        """Allow others to have this line while it is idle: `recall` gives it up if it is, and tells whether it was."""
        self._recall = recall

    def recall(self) -> bool:
        """Have the destination give this line up, if it is idle."""
        return self._successor is None and self._recall()

    def hand_over(self) -> "SmtpLine":
        """Give the connection to a new line for another destination; this one is closed without a word."""
        self._successor = SmtpLine(self._connection, self.dcid, self._log, self._handling, broken=self._broken)
        return self._successor

    async def send(self, job: Job) -> Sequence[Result]:
        """Carry one message."""
        if job.accepted.require_tls == "yes" and self.strictly is not None:
            await self.close()  # the connection for this message takes the place of this one
            try:
                return await self.strictly(job, self._carried_by)
            finally:
                self._instead = None
        recipients = job.recipients
        offers = self._connection.offers
        try:
            transaction = await self._prepare(job, recipients)
        except PermanentFailure as problem:
            return _all(recipients, "hard", problem.reply)
        result = await self._connection.send(transaction)
        dsn = "DSN" in offers
        if result.final is not None and len(result.delivered) == len(recipients):
            return _all(recipients, "delivered", result.final, dsn)
        if self._never_seen(result):
            return [Carried(one.rid, "returned", 0, "", "the connection was gone") for one in recipients]
        return await self._by_recipient(job, recipients, result, dsn=dsn)

    def _carried_by(self, line: "SmtpLine") -> None:
        self._instead = line

    async def _prepare(self, job: Job, recipients: Sequence[Recipient]) -> Transaction:
        transaction = await prepare(job, recipients, self._connection.offers, self._handling.eight_bit)
        if self._handling.mail_from is not None and transaction.sender:
            transaction.sender = self._handling.mail_from(transaction.sender, recipients[0].address.rpartition("@")[2])
        return transaction

    async def _by_recipient(
        self, job: Job, recipients: Sequence[Recipient], result: TransactionResult, *, dsn: bool
    ) -> Sequence[Result]:
        """Judge each recipient; those that were too many for one transaction go in the next, at once."""
        results: dict[int, Result] = {}
        while True:
            self._note(job, recipients, result)
            delivered = set(result.delivered)
            for index, one in enumerate(recipients):
                results[one.rid] = self._judge(one.rid, result, index, dsn and index in delivered)
            rest = [recipients[index] for index in _over_limit(result)]
            if not rest or not self._open:
                return [results[one.rid] for one in job.recipients]
            recipients = rest
            transaction = await self._prepare(job, recipients)
            result = await self._connection.send(transaction)

    def _never_seen(self, result: TransactionResult) -> bool:
        """Tell an ordinary close of an idle connection from a failure."""
        return (
            self._connection.transactions > 1
            and isinstance(result.error, PeerClosed)
            and result.failed_stage in (Stage.IDLE, Stage.MAIL)
            and not any(result.replies)
        )

    def _note(self, job: Job, recipients: Sequence[Recipient], result: TransactionResult) -> None:
        """Log why the connection ended in the middle of a message, and what was perhaps delivered."""
        problem = result.error
        if problem is None:
            return
        self._log.info(
            f"Connection Error: DCID: {self.dcid} IP: {self.remote_ip} details: {clean(problem.text)}"
            f" interface: {self._interface} reason: {problem.party} ({problem.stage})"
        )
        self._broken(problem)
        if self._possible(result):
            rids = [one.rid for index, one in enumerate(recipients) if result.replies[index] is None]
            self._log.info(f"Possible Delivery: DCID: {self.dcid} MID {job.mid} to {rids}")

    def _possible(self, result: TransactionResult) -> bool:
        return (
            self._handling.possible_delivery
            and result.maybe_delivered
            and result.failed_stage is Stage.FINAL
            and isinstance(result.error, TimedOut | PeerClosed)
        )

    def _judge(self, rid: int, result: TransactionResult, index: int, dsn: bool) -> Carried:
        """Say what a recipient's reply, or the want of one, means."""
        reply = result.replies[index]
        if reply is not None:
            kind: Kind = "delivered" if reply.code < 300 else "hard" if reply.code >= 500 else "soft"
            return Carried(rid, kind, reply.code, reply.enhanced, _text(reply), dsn)
        if self._possible(result):
            return Carried(rid, "delivered", 0, "", f"possible delivery: {result.error}")
        error = result.error
        return Carried(rid, "soft", 0, error.enhanced if error else "4.4.0", str(error) if error else "no reply")

    async def close(self) -> None:
        """Say QUIT and wait a little; nothing if it is closed or goes by another line now."""
        if self._closed or self._successor is not None:
            return
        self._closed = True
        self._connection.close()
        await self._connection.wait_closed()
        self._log.info(f"DCID {self.dcid} close")


class NullLine:
    """The line to /dev/null: takes everything, sends nothing."""

    dcid = 0
    remote_ip = remote_host = ""
    usable = True
    excepted = False
    carried = 0
    moved_at_s = 0.0

    async def send(self, job: Job) -> Sequence[Result]:
        """Call a message delivered."""
        return _all(job.recipients, "delivered", Reply(250, "2.0.0", "discarded: routed to /dev/null"))

    def lend(self, recall: Callable[[], bool]) -> None:
        """Do nothing: each destination may have its own."""

    async def close(self) -> None:
        """Do nothing."""


def _text(reply: Reply) -> str:
    return " ".join(reply.lines)


def _all(recipients: Sequence[Recipient], kind: Kind, reply: Reply, dsn: bool = False) -> list[Carried]:
    code, enhanced, text = reply.code, reply.enhanced, _text(reply)
    return [Carried(one.rid, kind, code, enhanced, text, dsn) for one in recipients]


def _over_limit(result: TransactionResult) -> list[int]:
    """Give the indexes of recipients that were refused for their number, where others were served."""
    if not result.delivered:
        return []
    first = min(result.delivered)
    return [index for index, reply in enumerate(result.replies) if reply and index > first and _too_many(reply)]


def _too_many(reply: Reply) -> bool:
    """Recognise 452 4.5.3, and 552, which means the same in reply to RCPT (RFC 5321 4.5.3.1.10)."""
    if reply.code == 452:
        return reply.enhanced in ("", "4.5.3")
    return reply.code == 552 and reply.enhanced in ("", "5.5.3")
