from mail.limit import WINDOW_S, HourlyCount


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_counts_by_address_and_forgets_after_an_hour() -> None:
    clock = Clock()
    counts = HourlyCount(clock)
    counts.add("a")
    counts.add("a")
    assert (counts.get("a"), counts.get("b")) == (2, 0)
    clock.now = WINDOW_S
    assert counts.get("a") == 0
    counts.add("a")
    assert counts.get("a") == 1


def test_memory_is_bounded() -> None:
    counts = HourlyCount(Clock(), max_addresses=100)
    for number in range(10_000):
        counts.add(str(number))
        assert len(counts._counts) <= 101
    assert counts.get("9999") == 1
