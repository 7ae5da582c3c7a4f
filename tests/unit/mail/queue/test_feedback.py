"""`mail.queue.feedback`, simulated: one connection for each message, as its authors measured it.

A limiter lets L connections in and answers 421 to the others; a congested host lets in everybody and loses some
connections by time-out, whoever asks. What is counted is the share of connections that were refused.
"""

import random
from collections import deque

import pytest

from mail.queue.feedback import START, Step, Window, by_root


def constant(_size: int) -> float:
    """What Postfix ships: every event is a whole step."""
    return 1.0


def inverse(size: int) -> float:
    return 1 / size


def limiter(step: Step, bears: int, attempts: int = 40_000) -> float:
    """Give the share of refused connections at a host that bears so many."""
    window = Window()
    window.refused_at = 1.0
    running: deque[None] = deque()
    refused = 0
    for _ in range(attempts):
        while len(running) >= window.size:
            running.popleft()
        in_use = len(running) + 1
        if in_use > bears:
            refused += 1
            window.failed(in_use, 1.0, step)
        else:
            running.append(None)
            window.succeeded(in_use, 500, step)
    return refused / attempts


def congestion(step: Step, attempts: int = 40_000) -> float:
    """Give the share of connections lost at a host that loses one in ten, however many there are."""
    window, chance, lost = Window(), random.Random(3), 0
    window.refused_at = 1.0
    for _ in range(attempts):
        if chance.random() < 0.1:
            lost += 1
            window.failed(window.size, 1.0, step)
        else:
            window.succeeded(window.size, 500, step)
    return lost / attempts


def test_a_limiter_refuses_far_less_than_with_whole_steps() -> None:
    """Postfix's authors measured 49.7 %, 24.5 % and 16.5 %."""
    shares = [limiter(step, bears=5) for step in (constant, by_root, inverse)]
    assert shares == pytest.approx([0.5, 0.25, 0.167], abs=0.01)
    assert limiter(by_root, bears=50) < 0.12


def test_plain_congestion_is_no_worse_than_with_whole_steps() -> None:
    assert congestion(by_root) == pytest.approx(congestion(constant), abs=0.01)


def test_the_window_stays_near_what_the_host_bears() -> None:
    window = Window()
    for turn in range(2000):
        in_use = min(window.size, 11)
        if in_use > 10:
            window.failed(in_use, float(turn))
        else:
            window.succeeded(in_use, 500)
        assert turn < 20 or 8 <= window.size <= 12


def test_a_failure_counts_at_the_start_of_its_run_a_success_at_the_end() -> None:
    window = Window()
    window.failed(16, 1.0)
    assert window.size == 15
    for _ in range(2):
        window.failed(16, 1.0)
    assert window.size == 15
    for _ in range(3):
        window.succeeded(15, 500)
    assert window.size == 15
    window.succeeded(15, 500)
    assert window.size == 16


def test_the_window_never_grows_for_those_who_do_not_use_it() -> None:
    window = Window()
    window.failed(20, 1.0)
    for _ in range(1000):
        window.succeeded(3, 500)
    assert window.size == 19


def test_need_alone_widens_it_until_the_host_refuses() -> None:
    window = Window()
    window.review(1000, 500, 1.0)
    assert window.size == 2 * START
    window.failed(30, 2.0)
    window.review(1000, 500, 3.0)
    assert window.size == 29
    window.review(1000, 500, 700.0)
    assert window.size == 58


def test_a_failed_cohort_means_that_the_host_is_down() -> None:
    window = Window()
    assert window.failed(1, 1.0, others=False)
    window.succeeded(1, 500)
    assert [window.failed(in_use, 1.0, others=False) for in_use in (5, 4, 3, 2)] == [False, False, False, True]
