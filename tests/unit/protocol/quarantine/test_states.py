import pytest

from protocol.quarantine.states import Event, OutOfOrder, State, after


def run(*events: Event) -> State:
    state = State.UNKNOWN
    for event in events:
        state = after(state, event)
    return state


def test_one_message_after_the_other() -> None:
    message = (Event.FRAMED, Event.MAILED, Event.ADDRESSED, Event.COMPLETED, Event.ANSWERED)
    assert run(Event.IDENTIFIED, *message, *message) is State.KNOWN


@pytest.mark.parametrize("event", [Event.PROBED, Event.SETTLED, Event.FRAMED, Event.MAILED, Event.COMPLETED])
def test_nothing_is_done_for_a_peer_that_is_not_known(event: Event) -> None:
    with pytest.raises(OutOfOrder):
        after(State.UNKNOWN, event)


def test_mail_needs_a_frame_of_its_own() -> None:
    first = (Event.IDENTIFIED, Event.FRAMED, Event.MAILED, Event.COMPLETED, Event.ANSWERED)
    with pytest.raises(OutOfOrder):
        run(*first, Event.MAILED)
    with pytest.raises(OutOfOrder):
        run(Event.IDENTIFIED, Event.FRAMED, Event.FRAME_REFUSED, Event.MAILED)
    with pytest.raises(OutOfOrder):
        run(Event.IDENTIFIED, Event.FRAMED, Event.DROPPED, Event.MAILED)


@pytest.mark.parametrize("event", [Event.PROBED, Event.SETTLED, Event.FRAMED])
def test_no_extension_verb_inside_a_transaction(event: Event) -> None:
    with pytest.raises(OutOfOrder):
        run(Event.IDENTIFIED, Event.FRAMED, Event.MAILED, event)


@pytest.mark.parametrize("state", list(State))
def test_a_connection_may_close_at_any_time(state: State) -> None:
    assert after(state, Event.CLOSED) is State.CLOSED


def test_an_answer_may_come_after_the_connection_is_gone() -> None:
    assert after(State.CLOSED, Event.ANSWERED) is State.CLOSED
