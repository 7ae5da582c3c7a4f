"""The states of an SMTP server conversation and the moves between them.

Rules (RFC 5321 4.1.4 unless said)

- Nothing is accepted before the greeting; mail needs EHLO or HELO; a transaction is MAIL, RCPT one or more times,
  then DATA, or BDAT one or more times (RFC 3030 2), never both.
- RSET, EHLO and HELO drop the transaction and nothing else does but its end.
- After STARTTLS nothing counts until the handshake is over, and then nothing said before counts (RFC 3207 4.2).
- While an answer is owed, input is kept and not read.
- CLOSED is final: what still arrives is discarded.

Theory of operation

`TRANSITIONS` is the whole truth. An event is something that the server has accepted, not a command: a refused
command is no event and moves nothing. The machine asks `event in TRANSITIONS[state]` before it accepts, and calls
`after` when it has. `docs/protocol/smtp.md` shows the same table, drawn by `diagram`.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class State(IntEnum):
    """Where the conversation stands."""

    NEW = 0
    CONNECTED = 1
    GREETED = 2
    SENDER = 3
    RECIPIENTS = 4
    DATA = 5
    CHUNK = 6
    CHUNKED = 7
    ANSWER = 8
    ASKED = 9
    COLLECT = 10
    HANDSHAKE = 11
    CLOSED = 12


class Phase(IntEnum):
    """What the server waits for, which decides how long it waits."""

    COMMAND = 0
    CONTENT = 1
    """Octets of content, of a payload, or octets that are read to be forgotten."""
    ANSWER = 2
    """Its own session."""
    CLOSED = 3


class Event(IntEnum):
    """What the server has accepted or done."""

    CONNECT = 0
    GREET = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    BDAT = 5
    CHUNK_END = 6
    CONTENT_END = 7
    ANSWERED = 8
    RESET = 9
    ASK = 10
    COLLECT = 11
    STARTTLS = 12
    SECURED = 13
    CLOSE = 14


_S, _E = State, Event
TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    _S.NEW: {_E.CONNECT: _S.CONNECTED, _E.CLOSE: _S.CLOSED},
    _S.CONNECTED: {_E.GREET: _S.GREETED, _E.RESET: _S.CONNECTED, _E.CLOSE: _S.CLOSED},
    _S.GREETED: {
        _E.GREET: _S.GREETED,
        _E.RESET: _S.GREETED,
        _E.MAIL: _S.SENDER,
        _E.ASK: _S.ASKED,
        _E.STARTTLS: _S.HANDSHAKE,
        _E.CLOSE: _S.CLOSED,
    },
    _S.SENDER: {
        _E.RCPT: _S.RECIPIENTS,
        _E.GREET: _S.GREETED,
        _E.RESET: _S.GREETED,
        _E.CLOSE: _S.CLOSED,
    },
    _S.RECIPIENTS: {
        _E.RCPT: _S.RECIPIENTS,
        _E.DATA: _S.DATA,
        _E.BDAT: _S.CHUNK,
        _E.GREET: _S.GREETED,
        _E.RESET: _S.GREETED,
        _E.CLOSE: _S.CLOSED,
    },
    _S.DATA: {_E.CONTENT_END: _S.ANSWER, _E.RESET: _S.GREETED, _E.CLOSE: _S.CLOSED},
    _S.CHUNK: {
        _E.CHUNK_END: _S.CHUNKED,
        _E.CONTENT_END: _S.ANSWER,
        _E.RESET: _S.GREETED,
        _E.CLOSE: _S.CLOSED,
    },
    _S.CHUNKED: {_E.BDAT: _S.CHUNK, _E.GREET: _S.GREETED, _E.RESET: _S.GREETED, _E.CLOSE: _S.CLOSED},
    _S.ANSWER: {_E.ANSWERED: _S.GREETED, _E.CLOSE: _S.CLOSED},
    _S.ASKED: {_E.ANSWERED: _S.GREETED, _E.COLLECT: _S.COLLECT, _E.CLOSE: _S.CLOSED},
    _S.COLLECT: {_E.ASK: _S.ASKED, _E.ANSWERED: _S.GREETED, _E.CLOSE: _S.CLOSED},
    _S.HANDSHAKE: {_E.SECURED: _S.CONNECTED, _E.CLOSE: _S.CLOSED},
    _S.CLOSED: {},
}

TRANSACTION: Final = frozenset({_S.SENDER, _S.RECIPIENTS, _S.DATA, _S.CHUNK, _S.CHUNKED})
"""States in which a session has a transaction that an end without an answer aborts."""


def after(state: State, event: Event) -> State:
    """Give the state that follows. Raises `KeyError` for a move that the table does not have: a fault of ours."""
    return TRANSITIONS[state][event]


def diagram() -> str:
    """Draw the table as a Mermaid state diagram, without the moves to CLOSED that every state has."""
    lines = ["stateDiagram-v2", "    [*] --> NEW"]
    for state, moves in TRANSITIONS.items():
        lines += [f"    {state.name} --> {to.name}: {event.name}" for event, to in moves.items() if to is not _S.CLOSED]
    return "\n".join(lines) + "\n"
