"""tunnel.appliance.backoff: three quick attempts, doubling, a bound, and what the bastion asks for."""

from tunnel.appliance.backoff import Backoff


def _longest(first_s: float = 0.5, longest_s: float = 300) -> Backoff:
    return Backoff(first_s, longest_s, 60, pick=lambda top: top)


def test_the_first_attempt_is_made_at_once_then_three_quick_ones_then_it_doubles_to_the_bound() -> None:
    backoff, waits = _longest(), []
    for _ in range(16):
        waits.append(backoff.wait_s())
        backoff.failed()
    assert waits[:8] == [0, 0.5, 0.5, 0.5, 1, 2, 4, 8]
    assert waits[-1] == 300


def test_jitter_is_full() -> None:
    backoff = Backoff(0.5, 300, 60, pick=lambda _top: 0.0)
    for _ in range(20):
        backoff.failed()
    assert backoff.wait_s() == 0


def test_only_a_tunnel_that_lasted_makes_the_waits_short_again() -> None:
    backoff = _longest()
    for _ in range(10):
        backoff.failed()
    backoff.lost(59)
    assert backoff.wait_s() > 60
    backoff.lost(60)
    assert backoff.wait_s() == 0.5


def test_a_wait_that_was_asked_for_is_kept_and_spread_and_asked_for_anew_each_time() -> None:
    low, high = Backoff(0.5, 300, 60, pick=lambda _top: 0.0), _longest()
    for backoff in (low, high):
        backoff.failed(40)
    assert (low.wait_s(), high.wait_s()) == (40, 60)
    high.lost(100, 3600)
    assert high.wait_s() == 3630
    high.failed()
    assert high.wait_s() == 0.5


def test_enabling_anew_begins_anew() -> None:
    backoff = _longest()
    backoff.failed(1000)
    backoff.reset()
    assert backoff.wait_s() == 0


def test_a_refused_login_waits_out_its_penalty_and_still_notices_an_enrolment_within_a_minute() -> None:
    backoff, waits = Backoff(0.5, 300, 60, pick=lambda _top: 0.0), []
    for _ in range(4):
        backoff.failed(refused=True)
        waits.append(backoff.wait_s())
    assert waits == [20, 40, 60, 60]
    backoff.failed()
    assert backoff.wait_s() == 0
