"""One message for one peer, and what became of it.

Made by the couriers, carried out by the client machine. No policy: what a reply means for a retry is decided by the
caller.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from protocol.reply import Reply
from protocol.smtp.failure import ClientFailure, Stage


@dataclass(slots=True)
class Transaction:
    """One envelope and its content."""

    sender: str
    """Address without angle brackets, '' for the null sender."""
    recipients: Sequence[str]
    content: Iterable[bytes]
    """Chunks of the message as delivered, read once and only when the peer has asked for it. A generator is closed
    when it is not read to the end."""
    size: int = 0
    """Octets of the content for SIZE= (RFC 1870), 0 = not known."""
    body: str = "7BIT"
    smtputf8: bool = False
    mail_parameters: tuple[str, ...] = ()
    """Further parameters of MAIL, each as sent."""
    dsn_mail: str = ""
    """Parameters of MAIL for a peer that offers DSN, as sent: `RET=HDRS ENVID=…` (RFC 3461 4.3, 4.4)."""
    dsn_rcpt: Sequence[str] = ()
    """The same of RCPT, one for each recipient or none at all: `NOTIFY=NEVER ORCPT=…` (RFC 3461 4.1, 4.2)."""


@dataclass(slots=True)
class TransactionResult:
    """The outcome of one transaction. It is complete even when the connection failed."""

    replies: list[Reply | None]
    """By recipient: the reply that decides, exactly as the peer gave it; None where none came (see `error`)."""
    failed_stage: Stage | None = None
    """Where the transaction as a whole ended: None if the peer accepted the content, IDLE if it was never begun."""
    final: Reply | None = None
    """The reply to the content, if one came."""
    error: ClientFailure | None = None
    """Why the connection failed during this transaction, if it did."""
    delivered: list[int] = field(default_factory=list)
    """Indexes of the recipients that the peer accepted the content for."""
    maybe_delivered: bool = False
    """The whole content was sent and no reply to it counts: the peer may hold the message."""
