"""The gate before SSH: early drop, penalties as OpenSSH charges them, exempt networks, places to come back to."""

from ipaddress import ip_network

import pytest

from core.ssh.admission import (
    AUTH_FAILED,
    NO_AUTH,
    TIMED_OUT,
    AcceptGate,
    AcceptLimits,
    Penalties,
    PenaltyTerms,
    Returns,
)


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_from_the_thirtieth_on_some_are_dropped_and_at_the_full_number_all() -> None:
    dice = [1.0]
    limits = AcceptLimits(unauthenticated=100, early_drop=30, unauthenticated_per_source=1000)
    gate = AcceptGate(limits, dice=lambda: dice[0])
    for _ in range(30):
        assert gate.refuse("192.0.2.1") is None
    dice[0] = 0.29
    refused = gate.refuse("192.0.2.1")
    assert refused is not None
    assert refused[0] == "early-drop"
    dice[0] = 0.31
    assert gate.refuse("192.0.2.1") is None
    dice[0] = 0.999
    while gate.unknown < 100:
        assert gate.refuse("192.0.2.1") is None
    assert gate.refuse("192.0.2.1") == ("full", "too many connections that have not logged in")


def test_penalties_gather_until_they_are_worth_enforcing_and_run_out() -> None:
    clock = _Clock()
    penalties = Penalties(PenaltyTerms(), clock)
    for _ in range(2):
        penalties.add("a", AUTH_FAILED)
    assert penalties.left_s("a") == 0
    penalties.add("a", AUTH_FAILED)
    assert penalties.left_s("a") == 15
    clock.now += 14
    assert penalties.left_s("a") == 1
    clock.now += 1
    assert penalties.left_s("a") == 0
    penalties.add("a", NO_AUTH)
    assert penalties.left_s("a") == 0, "what has run out does not count again"
    assert penalties.left_s("b") == 0


def test_penalties_end_at_the_most_and_the_table_is_bounded() -> None:
    clock = _Clock()
    penalties = Penalties(PenaltyTerms(sources=3), clock)
    for _ in range(1000):
        penalties.add("a", TIMED_OUT)
    assert penalties.left_s("a") == 600
    for name in "bcd":
        for _ in range(2):
            penalties.add(name, TIMED_OUT)
    assert [penalties.left_s(name) for name in "abcd"] == [0, 20, 20, 20]


@pytest.mark.parametrize(("exempt", "inside"), [((), False), ((ip_network("192.0.2.0/24"),), True)])
def test_exempt_networks_have_neither_penalties_nor_a_limit_of_their_own(exempt: tuple, inside: bool) -> None:
    limits = AcceptLimits(unauthenticated_per_source=1, penalties=PenaltyTerms(), exempt=exempt)
    gate = AcceptGate(limits, dice=lambda: 1.0)
    assert gate.refuse("192.0.2.1") is None
    assert (gate.refuse("192.0.2.1") is None) is inside
    for _ in range(5):
        gate.penalise("192.0.2.9", TIMED_OUT)
    refused = gate.refuse("192.0.2.9")
    assert (refused is None) is inside
    assert inside or (refused is not None and refused[0] == "penalty")
    assert gate.refuse("2001:db8::1") is None


def test_those_who_find_us_busy_come_back_one_after_the_other() -> None:
    clock = _Clock()
    returns = Returns(clock)
    for _ in range(100):
        clock.now += 0.1
        returns.logged_in(waiting=10)
    booked = [returns.book(10) for _ in range(20)]
    assert booked == sorted(booked)
    assert booked[0] == 1
    assert booked[-1] == 3, "ten that wait, a tenth of a second each, and a little less for twenty that were sent away"
    for _ in range(10_000):
        last = returns.book(0)
    assert last == 300


def test_time_in_which_nobody_waited_was_taken_for_the_time_that_a_login_takes() -> None:
    clock = _Clock()
    returns = Returns(clock)
    for _ in range(100):
        clock.now += 60
        returns.logged_in(waiting=0)
    assert max(returns.book(0) for _ in range(100)) == 1, "a hundredth of a second each, as at the beginning"
