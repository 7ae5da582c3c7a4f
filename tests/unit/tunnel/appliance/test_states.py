"""tunnel.appliance.states: the table holds the seven-day rule and leaves no state without a way out."""

import pytest

from tunnel.appliance.states import TRANSITIONS, Event, ForbiddenMove, State, after


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_disabled_and_enabled(state: State) -> None:
    assert after(state, Event.DISABLE) is State.DISABLED
    assert after(state, Event.ENABLE) not in (State.DISABLED, State.EXPIRED)


def test_expiry_drains_an_open_tunnel_and_stops_one_that_is_not_open() -> None:
    assert after(State.OPEN, Event.EXPIRE) is State.DRAINING
    assert after(State.DRAINING, Event.LOST) is State.EXPIRED
    assert after(State.WAITING, Event.EXPIRE) is State.EXPIRED
    assert after(State.CONNECTING, Event.EXPIRE) is State.EXPIRED


def test_what_has_expired_only_comes_back_by_enabling() -> None:
    ways = {event for (state, event), to in TRANSITIONS.items() if state is State.EXPIRED and to is not state}
    assert ways == {Event.ENABLE, Event.DISABLE}


@pytest.mark.parametrize(
    ("state", "event"),
    [(State.DISABLED, Event.CONNECTED), (State.EXPIRED, Event.DIAL), (State.DRAINING, Event.CONNECTED)],
)
def test_a_move_that_is_not_in_the_table_is_a_defect(state: State, event: Event) -> None:
    with pytest.raises(ForbiddenMove, match=f"{event.value} in state {state.value}"):
        after(state, event)
