"""The states of a parcel (the recipients of one message that go to one destination together), and every move.

Rules
-----
* A recipient is finished only when a done record says so; for a failed one the bounce is durable before that.
* Only a parcel that waits or is parked may leave memory, and only after its rows are committed.
* An attempt that the peer never saw (`RETURNED`) is not an attempt.
* Mail that is held is never attempted.

Theory of operation
-------------------
NEW parcels come from a journal or from the index. READY ones stand in their destination's line and are SENDING
when a connection takes them. What fails softly is WAITING until it is due; what fails for good is FAILING until the
bounce is on the disk. PARKED parcels are in nobody's line: they wait for the next checkpoint to leave memory (GONE)
and come back from the index when their destination has room.

| state | on disk | after a crash |
|---|---|---|
| NEW, READY, SENDING | journal entry behind the stored position, or row | imported again, or loaded when due |
| WAITING, PARKED | the same; after the checkpoint always a row | the same; what changed since is tried early |
| FAILING | the same; the bounce perhaps in our own journal | fails again: at worst a second bounce |
| DONE | record in the done log; after the checkpoint nothing | the done log is replayed over rows and entries |
| GONE | row | loaded when due |
"""

from enum import Enum, StrEnum


class State(Enum):
    """Where a parcel is."""

    NEW = "new"
    READY = "ready"
    SENDING = "sending"
    WAITING = "waiting"
    PARKED = "parked"
    FAILING = "failing"
    DONE = "done"
    GONE = "gone"


class Reason(StrEnum):
    """Why a parcel moved; what an operator is shown."""

    IMPORTED = "imported from a journal"
    LOADED = "loaded from the index"
    NOT_DUE = "its next attempt is later"
    READY_FULL = "its destination has enough in memory"
    BLOCKED = "its destination takes nothing for now"
    HELD = "held on this machine"
    REST = "the other part of it goes first"
    FILTER_BOUNCED = "bounced by a filter"
    CROWDED_OUT = "memory is short and its destination does not move"
    STARTED = "taken by a connection"
    RETURNED = "the kept connection was gone"
    DELIVERED = "delivered"
    SOFT_BOUNCED = "the peer said try again later"
    UNREACHABLE = "no connection came about"
    HARD_BOUNCED = "refused for good"
    RETRIES_SPENT = "the last retry failed"
    EXPIRED = "too long in the queue"
    DUE = "its time has come"
    HOST_UP = "its destination answers again"
    DELIVER_NOW = "an operator asked for it"
    REPORTED = "its failure is recorded"
    NOT_REPORTED = "its bounce could not be recorded"
    DELETED = "deleted by an operator"
    UNSUBSCRIBED = "its recipients have unsubscribed"
    OPERATOR_BOUNCED = "bounced by an operator"
    REDIRECTED = "sent another way by an operator"
    CHECKPOINTED = "written to the index"


_MOVES: dict[tuple[State, Reason], State] = {
    (State.NEW, Reason.IMPORTED): State.READY,
    (State.NEW, Reason.LOADED): State.READY,
    (State.NEW, Reason.NOT_DUE): State.WAITING,
    (State.NEW, Reason.READY_FULL): State.PARKED,
    (State.NEW, Reason.BLOCKED): State.PARKED,
    (State.NEW, Reason.HELD): State.PARKED,
    (State.NEW, Reason.REST): State.READY,
    (State.NEW, Reason.FILTER_BOUNCED): State.FAILING,
    (State.NEW, Reason.HARD_BOUNCED): State.FAILING,
    (State.NEW, Reason.RETRIES_SPENT): State.FAILING,
    (State.READY, Reason.STARTED): State.SENDING,
    (State.READY, Reason.CROWDED_OUT): State.PARKED,
    (State.READY, Reason.EXPIRED): State.FAILING,
    # Brought back before its bounce was on the disk.
    (State.READY, Reason.FILTER_BOUNCED): State.FAILING,
    # Without an attempt, because its host is down: the age is looked at all the same.
    (State.NEW, Reason.EXPIRED): State.FAILING,
    (State.WAITING, Reason.EXPIRED): State.FAILING,
    (State.PARKED, Reason.EXPIRED): State.FAILING,
    # The failed part of a parcel whose rest goes on is split off as a new one.
    (State.SENDING, Reason.DELIVERED): State.DONE,
    (State.SENDING, Reason.UNSUBSCRIBED): State.DONE,
    (State.SENDING, Reason.RETURNED): State.READY,
    (State.SENDING, Reason.SOFT_BOUNCED): State.WAITING,
    (State.SENDING, Reason.UNREACHABLE): State.WAITING,
    (State.SENDING, Reason.HARD_BOUNCED): State.FAILING,
    (State.SENDING, Reason.RETRIES_SPENT): State.FAILING,
    (State.WAITING, Reason.DUE): State.READY,
    (State.WAITING, Reason.HOST_UP): State.READY,
    (State.WAITING, Reason.DELIVER_NOW): State.READY,
    (State.WAITING, Reason.CHECKPOINTED): State.GONE,
    (State.PARKED, Reason.CHECKPOINTED): State.GONE,
    (State.FAILING, Reason.REPORTED): State.DONE,
    (State.FAILING, Reason.NOT_REPORTED): State.WAITING,
    # An operator's verbs reach whatever is on no connection and not being reported.
    (State.NEW, Reason.DELETED): State.DONE,
    (State.READY, Reason.DELETED): State.DONE,
    (State.WAITING, Reason.DELETED): State.DONE,
    (State.PARKED, Reason.DELETED): State.DONE,
    (State.NEW, Reason.OPERATOR_BOUNCED): State.FAILING,
    (State.READY, Reason.OPERATOR_BOUNCED): State.FAILING,
    (State.WAITING, Reason.OPERATOR_BOUNCED): State.FAILING,
    (State.PARKED, Reason.OPERATOR_BOUNCED): State.FAILING,
    (State.NEW, Reason.REDIRECTED): State.NEW,
    (State.READY, Reason.REDIRECTED): State.NEW,
    (State.WAITING, Reason.REDIRECTED): State.NEW,
    (State.PARKED, Reason.REDIRECTED): State.NEW,
}


def after(state: State, reason: Reason) -> State:
    """Give the state that a move leads to. Raises `ValueError` for a move that there is not."""
    try:
        return _MOVES[state, reason]
    except KeyError:
        raise ValueError(f"a parcel that is {state.value} cannot move because: {reason}") from None


MOVES = tuple((state, reason, to) for (state, reason), to in _MOVES.items())
"""The table, for the documentation and its test."""
