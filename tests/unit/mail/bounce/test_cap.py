"""`mail.bounce.cap`: reports by sender domain and over all."""

from mail.bounce.cap import Cap


class Time:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_a_domain_has_its_hours_worth_at_once_and_then_evenly() -> None:
    time = Time()
    cap = Cap(0, 60, time)
    assert [bool(cap.take("a@x.test")) for _ in range(61)] == [False] * 60 + [True]
    assert cap.take("a@Y.test") == ""
    time.at += 61.0
    assert cap.take("b@X.test") == ""
    assert "60 reports an hour to its domain" in cap.take("b@x.test")
    time.at += 100_000.0
    assert [bool(cap.take("a@x.test")) for _ in range(61)] == [False] * 60 + [True]


def test_all_domains_together_have_a_cap_too() -> None:
    cap = Cap(3, 0, Time())
    assert [bool(cap.take(f"a@{number}.test")) for number in range(5)] == [False] * 3 + [True] * 2


def test_what_is_capped_by_all_is_not_counted_to_its_domain() -> None:
    time = Time()
    cap = Cap(1, 1, time)
    assert cap.take("a@x.test") == ""
    assert cap.take("a@y.test")
    time.at += 3601.0
    assert cap.take("a@y.test") == ""


def test_a_clock_that_jumps_back_neither_fills_nor_empties() -> None:
    time = Time()
    cap = Cap(0, 1, time)
    assert cap.take("a@x.test") == ""
    time.at -= 86_400.0
    assert cap.take("a@x.test")
    time.at += 3601.0
    assert cap.take("a@x.test") == ""
