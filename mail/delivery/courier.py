"""What the queue asks of a courier: the one who carries messages to a destination over a connection.

Declared here by the one who needs it; `mail/delivery/smtp_courier.py` is the ordinary one, the root hands in others
by destination name (the quarantine transfer for `the.cpq.host` and `the.cpq.release.host`). A courier need not
import this module: only the shapes count.

Who logs what: the courier logs the connection (`New SMTP DCID …`, `DCID … TLS …`, `Connection Error: …`,
`DCID … close`), the queue logs the messages on it (`Delivery start …`, `Message done …`, `Delayed …`).

How a courier says that a whole connection did not come about: `Courier.open` raises
`protocol.errors.PermanentFailure` (only where the destination cannot exist, such as NXDOMAIN; the reply's text says
why) or `protocol.errors.TemporaryFailure`; an `OSError` or `TimeoutError` counts as temporary. `Line.send` raises
nothing but cancellation: whatever happens is told per recipient.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from core.record import Accepted, Outcome, Recipient
from protocol.errors import TemporaryFailure


class Busy(TemporaryFailure):
    """Limits for each address leave none free: the parcel goes back without blame, and waits for a connection."""


BY_POLICY = "4.7.5"
"""Enhanced code of an `open` that failed because no host that answers meets the destination's TLS policy."""
Kind = Literal["delivered", "soft", "hard", "returned"]
"""`returned`: not attempted, because a kept connection was gone before the peer answered anything. No blame: the
recipient goes back to the head of its queue. Only a line that has carried a message before may say so."""


class Result(Protocol):
    """What became of one recipient."""

    @property
    def rid(self) -> int:
        """Which recipient."""
        ...

    @property
    def kind(self) -> Kind:
        """Whether it is done with."""
        ...

    @property
    def code(self) -> int:
        """The peer's reply code, 0 if no reply decided."""
        ...

    @property
    def enhanced(self) -> str:
        """Enhanced code, '' if there is none."""
        ...

    @property
    def text(self) -> str:
        """The reply's text without the codes, or why there was no reply."""
        ...

    @property
    def dsn(self) -> bool:
        """Whether the peer offers DSN and so took over to report what becomes of it (RFC 3461 5.2)."""
        ...


class Carried(NamedTuple):
    """A `Result` as the SMTP courier makes it."""

    rid: int
    kind: Kind
    code: int
    enhanced: str
    text: str
    dsn: bool = False


class Job(Protocol):
    """One message for one destination, as a line gets it."""

    @property
    def mid(self) -> int:
        """The message."""
        ...

    @property
    def sender(self) -> str:
        """Envelope sender, '' for the null sender."""
        ...

    @property
    def recipients(self) -> Sequence[Recipient]:
        """Those to carry now; they share one transaction."""
        ...

    @property
    def accepted(self) -> Accepted:
        """Envelope and facts."""
        ...

    @property
    def outcome(self) -> Outcome:
        """What the pipeline decided: edits, holds, transfer id, finished stages."""
        ...

    def chunks(self) -> Iterable[bytes]:
        """Give the content as it was received, from the start, without trace and edits. Raises `OSError`."""
        ...


class Line(Protocol):
    """An open connection. Used by one task at a time."""

    dcid: int
    remote_ip: str

    @property
    def remote_host(self) -> str:
        """The peer's name, '' where it has none but its destination's."""
        ...

    @property
    def excepted(self) -> bool:
        """Whether it is for one message that sets its destination's TLS policy aside: it proves nothing to others."""
        ...

    @property
    def carried(self) -> int:
        """Messages that its connection was given so far, whatever their destination."""
        ...

    @property
    def moved_at_s(self) -> float:
        """Loop time of the last progress of what is being carried: a watchdog ends what has long stood still."""
        ...

    @property
    def usable(self) -> bool:
        """Whether another message may be sent; notices a peer that has closed meanwhile."""
        ...

    async def send(self, job: Job) -> Sequence[Result]:
        """Carry one message; give one result for each of `job.recipients`."""
        ...

    def lend(self, recall: Callable[[], bool]) -> None:
        """Let the courier have the line back for another destination: `recall` gives it up if it is idle.

        It tells whether it was. A line that is of no use to others does nothing.
        """
        ...

    async def close(self) -> None:
        """Take leave. Never raises, takes a few seconds at most."""
        ...


class Courier(Protocol):
    """Opens lines to the destinations that it serves."""

    async def open(self, destination: str, target: str, wish: str = "") -> Line:
        """Connect to one of the hosts of `destination`.

        `wish` is what the message that it is for asks of TLS: with `no` (RFC 8689 5) the line may be one for such
        messages only, which its `excepted` says; it gives back any other.
        `target` is `Outcome.target` (serial of an appliance, '' = the paired management host). The courier has
        its own time-outs. Raises as the module says.
        """
        ...
