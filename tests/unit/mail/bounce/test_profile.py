"""`mail.bounce.profile`: the worked examples of the bounce profile, and the defaults."""

from mail.bounce.profile import BounceProfile


def tries(profile: BounceProfile, until: float = 1e6) -> tuple[list[float], str]:
    """Give when a host that always says 4xx is tried, and how it ends."""
    at, times = 0.0, list[float]()
    while at < until:
        if profile.expired(0.0, at):
            return times, f"expired at {at:g}"
        times.append(at)
        if profile.spent(len(times)):
            return times, f"spent at {at:g}"
        at += profile.wait_s(len(times), lambda: 0.5)
    return times, "goes on"


def test_two_retries_a_minute_apart_bounce_right_after_the_second() -> None:
    profile = BounceProfile(initial_retry_s=60, max_retry_s=60, max_retries=2, jitter=0)
    assert tries(profile) == ([0, 60, 120], "spent at 120")


def test_a_scheduled_attempt_after_the_longest_time_is_not_made() -> None:
    profile = BounceProfile(initial_retry_s=60, max_retry_s=60, max_in_queue_s=100, jitter=0)
    assert tries(profile) == ([0, 60], "expired at 120")


def test_waits_double_up_to_an_hour_and_end_after_three_days() -> None:
    times, end = tries(BounceProfile(jitter=0))
    assert times[:8] == [0, 60, 180, 420, 900, 1860, 3780, 7380]
    assert end == "expired at 259380"
    assert times[-1] == 255_780


def test_chance_only_shortens_a_wait_by_a_tenth() -> None:
    profile = BounceProfile()
    assert profile.wait_s(1, lambda: 0.0) == 60
    assert profile.wait_s(1, lambda: 0.999) > 54
    assert profile.wait_s(5000, lambda: 0.0) == 3600
