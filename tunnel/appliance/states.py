"""The states of the tunnel on an appliance.

Rules
- Nothing is dialled unless an administrator has enabled access and its time is not over.
- Expiry never cuts: no new connection is let in, what is established goes on, and once it has closed it cannot
  come back (seven-day rule). Disabling cuts at once. The two are different events and never imply each other.
- Enabling anew is a new activation: what was open under the old one is given up, and dialling begins again.
- Only the function `after` decides what follows what; whoever holds the state does the I/O.

Theory of operation
`tunnel/appliance/client.py` holds one state and asks `after` at each event. WAITING is the time between two attempts,
CONNECTING covers name lookup, probing and the SSH handshake, OPEN means that the bastion has confirmed our
registration and given us our name.
DRAINING is OPEN with the name withdrawn. EXPIRED and DISABLED hold no connection.

Crash table: state, what is on disk (`tunnel/appliance/activation.py`), who repairs it

| state | on disk | after a restart |
|---|---|---|
| DISABLED | mode disabled | DISABLED |
| WAITING, CONNECTING, OPEN | mode tunnel, until > now | WAITING, dials again |
| DRAINING, EXPIRED | mode tunnel, until <= now | EXPIRED; the connections ended with the process |
"""

from enum import StrEnum


class State(StrEnum):
    """Where the tunnel of an appliance stands."""

    DISABLED = "disabled"
    WAITING = "waiting"
    CONNECTING = "connecting"
    OPEN = "open"
    DRAINING = "draining"
    EXPIRED = "expired"


class Event(StrEnum):
    """What can happen to it."""

    ENABLE = "enable"
    DIAL = "dial"
    CONNECTED = "connected"
    FAILED = "failed"
    LOST = "lost"
    EXPIRE = "expire"
    DISABLE = "disable"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.DISABLED, Event.ENABLE): State.WAITING,
    (State.DISABLED, Event.DISABLE): State.DISABLED,
    (State.WAITING, Event.ENABLE): State.WAITING,
    (State.WAITING, Event.DIAL): State.CONNECTING,
    (State.WAITING, Event.EXPIRE): State.EXPIRED,
    (State.WAITING, Event.DISABLE): State.DISABLED,
    (State.CONNECTING, Event.ENABLE): State.WAITING,
    (State.CONNECTING, Event.CONNECTED): State.OPEN,
    (State.CONNECTING, Event.FAILED): State.WAITING,
    (State.CONNECTING, Event.EXPIRE): State.EXPIRED,
    (State.CONNECTING, Event.DISABLE): State.DISABLED,
    (State.OPEN, Event.ENABLE): State.WAITING,
    (State.OPEN, Event.LOST): State.WAITING,
    (State.OPEN, Event.EXPIRE): State.DRAINING,
    (State.OPEN, Event.DISABLE): State.DISABLED,
    (State.DRAINING, Event.ENABLE): State.WAITING,
    (State.DRAINING, Event.LOST): State.EXPIRED,
    (State.DRAINING, Event.DISABLE): State.DISABLED,
    (State.EXPIRED, Event.ENABLE): State.WAITING,
    (State.EXPIRED, Event.DISABLE): State.DISABLED,
}


class ForbiddenMove(Exception):
    """An event came in a state that has no answer to it: a defect of the caller."""


def after(state: State, event: Event) -> State:
    """Give the state that follows; raises ForbiddenMove where the table has none. Changes nothing."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ForbiddenMove(f"{event.value} in state {state.value}") from None
