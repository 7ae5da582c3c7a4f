"""The values that go in and out of the quarantine store, whatever database is behind it.

`QuarantineStore` is what the rest of cpq/ asks of it; cpq/store.py answers with SQLite.
Every method is one transaction, durable when it returns, and may be called from several processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from cpq.state import Cause, Event, State


@dataclass(frozen=True, slots=True)
class NewHold:
    """One quarantine that takes the message, with the name the sender asked for."""

    quarantine: str
    asked: str
    reason: str
    matched: str
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One message to be held. Its content file is already written and synced."""

    id: str
    mid: int
    peer: str
    transfer_id: bytes
    origin_serial: str
    origin_mid: int
    sender: str
    recipients: tuple[str, ...]
    subject: str
    size: int
    sha256: bytes
    received_at: float
    held_at: float
    hold_count: int
    holds: tuple[NewHold, ...]
    frame: bytes


class Verdict(Enum):
    """What became of an arrival."""

    STORED = "stored"
    REPEATED = "repeated"
    """The same transfer id with the same size and digest: acknowledged, not stored again."""
    CONFLICT = "conflict"
    """The same transfer id with another content, or from another peer."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to an arrival, with the MID under which the message is (or was) known here."""

    verdict: Verdict
    mid: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is remembered of a transfer id."""

    mid: int
    size: int
    sha256: bytes
    peer: str


@dataclass(frozen=True, slots=True)
class HeldIn:
    """One quarantine of a stored message. `expires_at` 0 = it does not expire by itself."""

    quarantine: str
    asked: str
    reason: str
    matched: str
    state: State
    held_at: float
    expires_at: float
    left_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One stored message as lists and pages show it."""

    id: str
    mid: int
    origin_serial: str
    origin_mid: int
    sender: str
    recipients: tuple[str, ...]
    subject: str
    size: int
    received_at: float
    held_at: float
    hold_count: int
    state: State
    holds: tuple[HeldIn, ...]
    frame: bytes = b""
    """Only filled in for one message, not in lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for; empty texts match all. Texts match anywhere and in any case, the quarantine exactly."""

    quarantine: str = ""
    sender: str = ""
    recipient: str = ""
    subject: str = ""
    limit: int = 100
    after: str = ""
    """Give what is older than the message with this id."""


@dataclass(frozen=True, slots=True)
class Order:
    """One decision to be carried out: the message, and one quarantine or ('') all that hold it."""

    id: str
    event: Event
    cause: Cause
    quarantine: str = ""


@dataclass(frozen=True, slots=True)
class Departure:
    """One quarantine that a message left. `resolved` is set with the last of them."""

    id: str
    mid: int
    quarantine: str
    event: Event
    cause: Cause
    held_s: float
    resolved: State | None


@dataclass(frozen=True, slots=True)
class Leaving:
    """One outbox row: a released message that is to be handed over to the queue."""

    transfer_id: bytes
    id: str
    mid: int
    target: str
    frame: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """A hold whose default action is to be applied."""

    id: str
    quarantine: str
    size: int


class Arrivals(Protocol):
    """What the listener asks: store what comes in, remember and forget transfer ids."""

    async def take(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Store arrivals in one transaction, unless their transfer id is known."""

    async def known(self, transfer_ids: Sequence[bytes]) -> dict[bytes, Known]:
        """Give those of the ids that are known."""

    async def settle(self, peer: str, transfer_ids: Sequence[bytes]) -> int:
        """Forget ids that their sender will never use again; gives how many were known."""

    async def content_names(self) -> set[str]:
        """Give the names of all content files that rows still name."""


class Catalogue(Protocol):
    """What an operator asks."""

    async def find(self, search: Search) -> list[Message]:
        """Give held messages, newest first."""

    async def message(self, id: str) -> Message | None:
        """Give one message whatever its state, with its frame."""

    async def held(self) -> tuple[int, int]:
        """Give number and octets of all messages that are held; each counts once."""

    async def held_in(self, quarantine: str) -> int:
        """Count the messages that a quarantine holds."""


class Decisions(Protocol):
    """What moves messages out of quarantines."""

    async def apply(self, orders: Sequence[Order], now: float) -> list[Departure]:
        """Carry out decisions, all or none.

        What was decided before is no departure. Manual orders raise KeyError (unknown id), `NotPossible` and
        `StaysHeld`; the others pass over such messages, because somebody else may have been quicker.
        """

    async def due(self, now: float, limit: int) -> list[Due]:
        """Give holds that expire at `now` or before, soonest first."""

    async def soonest(self, quarantines: Sequence[str], limit: int) -> list[Due]:
        """Give holds of those quarantines in the order in which they expire."""

    async def purge(self, before: float) -> int:
        """Forget messages that left before that time; gives how many."""


class Outbox(Protocol):
    """What carries released messages to the queue and clears away what is not needed any more."""

    async def leaving(self, limit: int) -> list[Leaving]:
        """Give released messages that were not handed over yet, oldest first."""

    async def handed_over(self, transfer_ids: Sequence[bytes]) -> None:
        """Clear outbox rows whose messages are durable in the journal; their content may be removed now."""

    async def removals(self, limit: int) -> list[str]:
        """Give names of content files that are not needed any more."""

    async def removed(self, names: Sequence[str]) -> None:
        """Forget content files that are durably gone."""


class QuarantineStore(Protocol):
    """The quarantine's database, by who uses what."""

    @property
    def arrivals(self) -> Arrivals:
        """For the listener."""

    @property
    def catalogue(self) -> Catalogue:
        """For operators."""

    @property
    def decisions(self) -> Decisions:
        """For operators and the sweeps."""

    @property
    def outbox(self) -> Outbox:
        """For the hand-over."""

    def close(self) -> None:
        """Finish what is queued and let go of the database; blocks."""


class StaysHeld(Exception):
    """The message has been held too often to be released."""

    def __init__(self, id: str, mid: int, hold_count: int) -> None:
        super().__init__(id)
        self.id = id
        self.mid = mid
        self.hold_count = hold_count
