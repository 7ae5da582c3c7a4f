import pytest

from cpq.state import Event, NotPossible, State, after, resolution


def test_a_hold_leaves_once_and_the_same_way_again_changes_nothing() -> None:
    assert after(State.HELD, Event.RELEASE) is State.RELEASED
    assert after(State.RELEASED, Event.RELEASE) is State.RELEASED
    assert after(State.HELD, Event.DELETE) is State.DELETED
    assert after(State.DELETED, Event.DELETE) is State.DELETED


@pytest.mark.parametrize(("state", "event"), [(State.RELEASED, Event.DELETE), (State.DELETED, Event.RELEASE)])
def test_what_has_left_cannot_leave_the_other_way(state: State, event: Event) -> None:
    with pytest.raises(NotPossible):
        after(state, event)


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ([State.HELD], State.HELD),
        ([State.RELEASED, State.HELD], State.HELD),
        ([State.DELETED, State.HELD], State.HELD),
        ([State.RELEASED, State.RELEASED], State.RELEASED),
        ([State.RELEASED, State.DELETED], State.DELETED),
        ([State.DELETED], State.DELETED),
    ],
)
def test_one_delete_vetoes_delivery_and_one_hold_keeps_the_message(states: list[State], whole: State) -> None:
    assert resolution(states) is whole
