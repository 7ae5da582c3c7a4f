"""The states of the client machine and every move it can make.

Read by `protocol/smtp/client.py`. `after` raises `LookupError` for a move that is not in the table; it mutates nothing.
"""

from enum import IntEnum, auto


class State(IntEnum):
    """Where the sending side stands."""

    GREETING = auto()
    HELLO = auto()
    STARTTLS = auto()
    HANDSHAKE = auto()
    READY = auto()
    ENVELOPE = auto()
    CONTENT = auto()
    FINAL = auto()
    RESET = auto()
    COMMAND = auto()
    QUIT = auto()
    CLOSED = auto()


class Event(IntEnum):
    """What moves it on."""

    GREETED = auto()
    NO_EHLO = auto()
    ASK_TLS = auto()
    TLS_GRANTED = auto()
    TLS_DONE = auto()
    OPEN = auto()
    BEGIN = auto()
    GO_AHEAD = auto()
    LONE_DOT = auto()
    END = auto()
    ANSWERED = auto()
    ABANDON = auto()
    CLEARED = auto()
    ASK = auto()
    TOLD = auto()
    LEAVE = auto()
    END_OF_CONNECTION = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.GREETING, Event.GREETED): State.HELLO,
    (State.HELLO, Event.NO_EHLO): State.HELLO,
    (State.HELLO, Event.ASK_TLS): State.STARTTLS,
    (State.HELLO, Event.OPEN): State.READY,
    (State.STARTTLS, Event.TLS_GRANTED): State.HANDSHAKE,
    (State.STARTTLS, Event.OPEN): State.READY,
    (State.HANDSHAKE, Event.TLS_DONE): State.HELLO,
    (State.READY, Event.BEGIN): State.ENVELOPE,
    (State.READY, Event.ASK): State.COMMAND,
    (State.READY, Event.LEAVE): State.QUIT,
    (State.ENVELOPE, Event.GO_AHEAD): State.CONTENT,
    (State.ENVELOPE, Event.LONE_DOT): State.FINAL,
    (State.ENVELOPE, Event.ABANDON): State.RESET,
    (State.CONTENT, Event.END): State.FINAL,
    # A chunk was refused (RFC 3030 2): no more content, and RSET behind what is under way.
    (State.CONTENT, Event.ABANDON): State.RESET,
    (State.FINAL, Event.ABANDON): State.RESET,
    # The next envelope goes out behind the final dot (RFC 2920 3.1), before its reply has come.
    (State.FINAL, Event.BEGIN): State.ENVELOPE,
    (State.FINAL, Event.ANSWERED): State.READY,
    (State.RESET, Event.CLEARED): State.READY,
    (State.COMMAND, Event.TOLD): State.READY,
    **{(state, Event.END_OF_CONNECTION): State.CLOSED for state in State},
}


def after(state: State, event: Event) -> State:
    """Give the state that follows. Raises `LookupError` if the event cannot happen in this state."""
    return TRANSITIONS[state, event]
