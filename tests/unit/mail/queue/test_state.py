"""`mail.queue.state`: the table is whole, and what must not happen is not in it."""

import pytest

from mail.queue.state import MOVES, Reason, State, after


def test_every_state_can_be_reached_and_left_but_the_last_two() -> None:
    # Only an order to go another way makes a parcel new again.
    assert {to for _, reason, to in MOVES if reason is not Reason.REDIRECTED} == set(State) - {State.NEW}
    assert {state for state, _, _ in MOVES} == set(State) - {State.DONE, State.GONE}


def test_only_waiting_and_parked_mail_leaves_memory() -> None:
    assert {state for state, _, to in MOVES if to is State.GONE} == {State.WAITING, State.PARKED}


def test_a_failure_is_done_only_when_it_is_reported() -> None:
    assert {reason for state, reason, to in MOVES if state is State.FAILING and to is State.DONE} == {Reason.REPORTED}


def test_a_move_that_there_is_not_raises_with_both_names() -> None:
    with pytest.raises(ValueError, match="a parcel that is done cannot move because: taken by a connection"):
        after(State.DONE, Reason.STARTED)


def test_an_operator_reaches_what_is_on_no_connection_and_not_being_reported() -> None:
    for verb in (Reason.DELETED, Reason.OPERATOR_BOUNCED):
        reached = {state for state, reason, _ in MOVES if reason is verb}
        assert reached == {State.NEW, State.READY, State.WAITING, State.PARKED}
