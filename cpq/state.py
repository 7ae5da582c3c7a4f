"""The states of a held message, per quarantine and as a whole.

Rules (behaviour of the model appliances, section 7)
-----
- A message may be held in several quarantines at once; each keeps its own state.
- Released means: out of this quarantine. The message is delivered only when it is held in none.
- Deleted means: out of this quarantine, and the message can never be delivered, whatever the others decide.
- What has left a quarantine does not come back; leaving the same way again changes nothing.

Theory of operation
-------------------
`after` gives the state of one (message, quarantine); `resolution` gives what the whole message has come to. The
store applies both in one transaction: the hold rows, the message row, and with the last hold either the outbox
row (released) or the removal row (deleted). So a message never leaves twice and never half.

Crash table (SMA; `docs/quarantine.md` has both sides)
------------------------------------------------------
| state | on disk | who repairs it |
|---|---|---|
| arriving | content file without row | cpq-listener removes it at start; the sender tries again |
| held | content file, message, holds, transfer id | nothing to do |
| released | the same, outbox row | release-host writes the journal again unless its scan finds the id there |
| handed over | journal entry, removal row | release-host removes the content file, then the row |
| deleted | removal row | release-host removes the content file, then the row |
"""

from collections.abc import Iterable
from enum import Enum


class State(Enum):
    """What a message is in one quarantine; the values are stored."""

    HELD = "held"
    RELEASED = "released"
    DELETED = "deleted"


class Event(Enum):
    """What is done to it there."""

    RELEASE = "release"
    DELETE = "delete"


class Cause(Enum):
    """Why it is done; the values stand in the mail log."""

    MANUAL = "manual"
    EXPIRED = "expired"
    OVERFLOW = "queue full"


class NotPossible(Exception):
    """The message has already left this quarantine the other way."""


TABLE: dict[tuple[State, Event], State] = {
    (State.HELD, Event.RELEASE): State.RELEASED,
    (State.HELD, Event.DELETE): State.DELETED,
    (State.RELEASED, Event.RELEASE): State.RELEASED,
    (State.DELETED, Event.DELETE): State.DELETED,
}


def after(state: State, event: Event) -> State:
    """Give the state that follows. Raises `NotPossible`; changes nothing."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise NotPossible(f"cannot {event.value} what is {state.value}") from None


def resolution(states: Iterable[State]) -> State:
    """Give the state of the whole message: held while any quarantine holds it, else one delete vetoes delivery."""
    found = set(states)
    if State.HELD in found:
        return State.HELD
    return State.DELETED if State.DELETED in found else State.RELEASED
