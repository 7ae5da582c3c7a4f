"""A message in the queue's memory, and its parcels: one for each destination.

Made by the importer and the loader, moved by the scheduler and the settlement, written down by the checkpoint.
A message is in memory whole or not at all. Reads content, blocking, when a line asks for it; raises `OSError` or
`JournalDamaged` then. Logs nothing.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from core.clock import steady
from core.journal.entry import ContentRef, open_content
from core.record import HOLD_QUEUE, PSEUDO_HOSTS, Accepted, Outcome, Recipient
from mail.queue.state import Reason, State, after
from mail.queue.wheel import ABSENT
from protocol.domain import canonical

NEVER = float("inf")

Segment = tuple[str, int]
"""What content depends on: journal name and generation; the name '' is the queue's own store, by pack number."""


class Message:
    """One message: its records, where its content lies, its parcels."""

    __slots__ = (
        "_data",
        "accepted",
        "content",
        "documents",
        "finished",
        "mid",
        "outcome",
        "parcels",
        "received_at",
        "review_at",
        "segment",
        "stored",
    )

    def __init__(
        self, accepted: Accepted, outcome: Outcome, content: ContentRef, segment: Segment, *, stored: bool
    ) -> None:
        self.mid = outcome.mid
        self.accepted = accepted
        self.received_at = steady.of(accepted.received_at)
        """By the clock that waiting goes by."""
        self.outcome = outcome
        self.content = content
        self.segment = segment
        self.stored = stored
        """Whether the index has a row for it."""
        self.parcels: list[Parcel] = []
        """Those with unfinished recipients."""
        self.finished: list[int] = []
        """Recipients finished since the last checkpoint, if the index has rows for them."""
        self.review_at = 0.0
        """When the index says that its age is to be looked at."""
        self.documents: tuple[bytes, bytes] | None = None
        """Both records as they were read, until they are in the index."""
        self._data: bytes | None = None

    def keep(self, data: bytes) -> None:
        """Hold the content in memory for the first attempt."""
        self._data = data

    def drop(self) -> int:
        """Let go of content in memory and give its size."""
        data, self._data = self._data, None
        return 0 if data is None else len(data)

    def chunks(self) -> Iterable[bytes]:
        """Give the content as it was received."""
        return (self._data,) if self._data is not None else open_content(self.content)

    @property
    def movable(self) -> bool:
        """Whether nobody may be reading its content: no parcel is on a connection or being reported."""
        return all(parcel.state in (State.WAITING, State.PARKED, State.READY) for parcel in self.parcels)

    @property
    def evictable(self) -> bool:
        """Whether it may leave memory once its rows are committed."""
        return all(parcel.state in (State.WAITING, State.PARKED) for parcel in self.parcels)


class Parcel:
    """The unfinished recipients of one message for one destination; a line's `Job`."""

    __slots__ = (
        "attempts",
        "destination",
        "host_level",
        "last_reply",
        "message",
        "next_attempt_at",
        "reason",
        "recipients",
        "slot",
        "state",
        "warned",
    )

    def __init__(self, message: Message, destination: tuple[str, str], recipients: list[Recipient]) -> None:
        self.message = message
        self.destination = destination
        """Name and target."""
        self.recipients = recipients
        self.attempts = 0
        self.next_attempt_at = 0.0
        """0 = as soon as possible."""
        self.last_reply = ""
        self.warned = 0
        """Delay warnings sent."""
        self.host_level = False
        """Whether the last failure was the connection's, not the peer's answer to this message."""
        self.state = State.NEW
        self.reason = Reason.IMPORTED
        self.slot = ABSENT
        """Its place in the timer."""

    def move(self, reason: Reason) -> None:
        """Change the state for a named reason."""
        self.state = after(self.state, reason)
        self.reason = reason

    def split(self, recipients: Iterable[Recipient]) -> "Parcel":
        """Make a new parcel of some of the recipients, with the same history, and take them out of this one."""
        rest = Parcel(self.message, self.destination, list(recipients))
        gone = {recipient.rid for recipient in rest.recipients}
        self.recipients = [recipient for recipient in self.recipients if recipient.rid not in gone]
        rest.attempts = self.attempts
        rest.last_reply = self.last_reply
        rest.warned = self.warned
        self.message.parcels.append(rest)
        return rest

    @property
    def mid(self) -> int:
        """The message."""
        return self.message.mid

    @property
    def sender(self) -> str:
        """Envelope sender."""
        return self.message.accepted.sender

    @property
    def accepted(self) -> Accepted:
        """Envelope and facts."""
        return self.message.accepted

    @property
    def outcome(self) -> Outcome:
        """What the pipeline decided."""
        return self.message.outcome

    def chunks(self) -> Iterable[bytes]:
        """Give the content as it was received."""
        return self.message.chunks()


def destination_of(outcome: Outcome, recipient: Recipient) -> tuple[str, str]:
    """Name the queue that a recipient stands in: the outcome's pseudo host, or the recipient's own domain.

    The second part tells queues of one name apart: the serial of the appliance that a pseudo host leads to, or the
    virtual gateway that mail for a domain leaves by.
    """
    if outcome.verdict == "hold":
        return (HOLD_QUEUE, "")
    if outcome.destination:
        return (outcome.destination, outcome.target)
    return (domain_of(recipient), outcome.gateway)


def domain_of(recipient: Recipient) -> str:
    """Give a recipient's domain as queues are named.

    An address may be of a domain that is called like a pseudo host, and anybody may write one: its mail stays ordinary
    mail, under the name with the dot at its end, which DNS takes for the same domain.
    """
    domain = recipient.address.rpartition("@")[2].lower()
    name = domain if domain.isascii() else canonical(domain)
    return f"{name}." if name in PSEUDO_HOSTS else name


def divide(message: Message, recipients: Sequence[Recipient], most: int) -> list[Parcel]:
    """Make the parcels of a message: one for each destination, more where there are over `most` recipients.

    A pseudo host gets the whole message in one: its transfer is once and for all.
    """
    groups: dict[tuple[str, str], list[Recipient]] = {}
    for recipient in recipients:
        groups.setdefault(destination_of(message.outcome, recipient), []).append(recipient)
    for key, group in groups.items():
        step = len(group) if message.outcome.destination else most
        for start in range(0, len(group), step):
            message.parcels.append(Parcel(message, key, group[start : start + step]))
    return message.parcels


def moved(content: ContentRef, path: Path, offset: int, pack: int) -> ContentRef:
    """Give the reference to content that was copied into the queue's own store."""
    return content._replace(kind="file", path=path, offset=offset, generation=pack)
