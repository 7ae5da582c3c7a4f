"""Clocks: the one that plans is not moved by whoever sets the machine's."""

from core.clock import Steady

DAY_S = 86_400.0


class Hands:
    """A machine's clock that is set, and time that passes."""

    def __init__(self) -> None:
        self.wall_at, self.passed_s = 1_000_000.0, 50.0
        self.steady = Steady(lambda: self.wall_at, lambda: self.passed_s)

    def later(self, by_s: float) -> None:
        self.wall_at += by_s
        self.passed_s += by_s


def test_a_clock_that_is_set_moves_nothing_that_waits() -> None:
    hands = Hands()
    hands.later(10)
    for by_s in (DAY_S, -2 * DAY_S):
        before = hands.steady()
        hands.wall_at += by_s
        assert hands.steady() == before
    hands.later(5)
    assert hands.steady() == 1_000_015.0
    assert hands.steady.set_by_s == -DAY_S


def test_a_drift_is_no_setting() -> None:
    hands = Hands()
    hands.wall_at += 59
    assert hands.steady.set_by_s == 0
    assert hands.steady.of(7.0) == 7.0


def test_mail_from_before_a_jump_and_from_after_it_is_never_older_than_it_is() -> None:
    for by_s in (DAY_S, -DAY_S):
        hands = Hands()
        before = hands.wall_at
        hands.later(100)
        hands.wall_at += by_s
        after = hands.wall_at
        hands.later(30)
        assert hands.steady() - hands.steady.of(after) == 30
        assert 0 <= hands.steady() - hands.steady.of(before) <= 130


def test_a_time_that_is_in_the_future_either_way_is_the_present() -> None:
    hands = Hands()
    hands.wall_at += DAY_S
    assert hands.steady.of(hands.wall_at + DAY_S) == hands.steady()


def test_mail_taken_between_two_settings_of_the_clock_was_taken_for_days_old() -> None:
    for first_s, second_s in ((-DAY_S, 2 * DAY_S), (-DAY_S, DAY_S), (DAY_S, -2 * DAY_S), (DAY_S, -DAY_S)):
        hands = Hands()
        hands.wall_at += first_s
        hands.steady()
        between = hands.wall_at
        hands.later(5)
        hands.wall_at += second_s
        assert 0 <= hands.steady() - hands.steady.of(between) <= 5


def test_mail_taken_after_the_clock_was_set_right_again_is_new_though_it_drifts() -> None:
    hands = Hands()
    for by_s in (DAY_S, -DAY_S, 3.0):
        hands.wall_at += by_s
        hands.steady()
    assert hands.steady.of(hands.wall_at) == hands.steady()


def test_a_clock_that_is_set_again_and_again_is_remembered_within_bounds() -> None:
    hands = Hands()
    for number in range(1000):
        hands.wall_at += 3600 if number % 3 else -7200
        hands.later(1)
        assert hands.steady.of(hands.wall_at) <= hands.steady()
        assert hands.steady() - hands.steady.of(hands.wall_at) < 60
