"""The table of the server's states: no way out of the end, no way round EHLO, every state reachable."""

from pathlib import Path

import pytest

from protocol.smtp.states import TRANSACTION, TRANSITIONS, Event, State, after, diagram


def test_every_state_has_its_row_and_can_be_reached():
    assert set(TRANSITIONS) == set(State)
    reached = {to for moves in TRANSITIONS.values() for to in moves.values()}
    assert reached == set(State) - {State.NEW}


def test_the_end_is_final_and_every_other_state_leads_to_it():
    assert TRANSITIONS[State.CLOSED] == {}
    assert all(Event.CLOSE in TRANSITIONS[state] for state in State if state is not State.CLOSED)


def test_a_move_that_the_table_lacks_is_a_fault_of_ours():
    assert after(State.GREETED, Event.MAIL) is State.SENDER
    with pytest.raises(KeyError):
        after(State.CONNECTED, Event.MAIL)


def test_a_transaction_ends_in_an_answer_or_a_reset():
    for state in TRANSACTION:
        leaving = {event for event, to in TRANSITIONS[state].items() if to not in TRANSACTION}
        assert leaving <= {Event.RESET, Event.GREET, Event.CONTENT_END, Event.CLOSE}


def test_the_page_shows_the_table():
    text = diagram()
    assert "GREETED --> SENDER: MAIL" in text
    assert "CLOSED" not in text
    assert text in (Path(__file__).parents[4] / "docs/protocol/smtp.md").read_text()
