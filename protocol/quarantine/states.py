"""The receiving side of one quarantine connection, as states.

Rules
-----
- Nothing is believed before the peer is known: it has to come with a pinned certificate over TLS.
- A message is: one metadata frame, one MAIL, its RCPTs, its content. The frame comes first and serves one
  transaction only; whatever ends the transaction (content, RSET, EHLO) ends the frame too.
- A frame that is refused leaves the connection usable; MAIL is refused until a good frame has come.
- The probe and the settlement of transfer ids may come whenever no transaction is open.

Theory of operation
-------------------
The session (cpq/receive.py) feeds events in the order in which the SMTP machine reports them and asks `after`
for the next state before it acts. A missing entry raises `OutOfOrder`; the session answers 503 and stays where it
was. The machine holds no data: frame, recipients and content belong to the session, which drops them on entering
KNOWN.

Nothing here is persistent, so there is no crash table: a connection that dies takes its state with it and the
sender starts again from the frame with the same transfer id.
"""

from enum import Enum, auto


class State(Enum):
    """Where the conversation stands."""

    UNKNOWN = auto()
    """No certificate seen yet."""
    KNOWN = auto()
    """The peer is a paired appliance; no message is under way."""
    FRAMED = auto()
    """A good frame has come; MAIL may follow."""
    OPEN = auto()
    """MAIL was accepted; RCPT and content follow."""
    STORING = auto()
    """The content is complete; the answer waits for the disk."""
    CLOSED = auto()


class Event(Enum):
    """What happened on the connection."""

    IDENTIFIED = auto()
    PROBED = auto()
    SETTLED = auto()
    FRAMED = auto()
    FRAME_REFUSED = auto()
    MAILED = auto()
    ADDRESSED = auto()
    COMPLETED = auto()
    ANSWERED = auto()
    DROPPED = auto()
    CLOSED = auto()


class OutOfOrder(Exception):
    """The event has no place in this state."""


TABLE: dict[tuple[State, Event], State] = {
    (State.UNKNOWN, Event.IDENTIFIED): State.KNOWN,
    (State.UNKNOWN, Event.DROPPED): State.UNKNOWN,
    (State.KNOWN, Event.PROBED): State.KNOWN,
    (State.KNOWN, Event.SETTLED): State.KNOWN,
    (State.KNOWN, Event.FRAMED): State.FRAMED,
    (State.KNOWN, Event.FRAME_REFUSED): State.KNOWN,
    (State.KNOWN, Event.DROPPED): State.KNOWN,
    (State.FRAMED, Event.PROBED): State.FRAMED,
    (State.FRAMED, Event.SETTLED): State.FRAMED,
    (State.FRAMED, Event.FRAMED): State.FRAMED,
    (State.FRAMED, Event.FRAME_REFUSED): State.KNOWN,
    (State.FRAMED, Event.MAILED): State.OPEN,
    (State.FRAMED, Event.DROPPED): State.KNOWN,
    (State.OPEN, Event.ADDRESSED): State.OPEN,
    (State.OPEN, Event.COMPLETED): State.STORING,
    (State.OPEN, Event.DROPPED): State.KNOWN,
    (State.STORING, Event.ANSWERED): State.KNOWN,
    (State.STORING, Event.DROPPED): State.STORING,
    **{(state, Event.CLOSED): State.CLOSED for state in State},
    (State.CLOSED, Event.ANSWERED): State.CLOSED,
    (State.CLOSED, Event.DROPPED): State.CLOSED,
}


def after(state: State, event: Event) -> State:
    """Give the state that follows. Raises `OutOfOrder`; changes nothing."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise OutOfOrder(f"{event.name} in {state.name}") from None
