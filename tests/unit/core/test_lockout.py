import pytest

from core.lockout import Lockout, source_of


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_too_many_failures_lock_until_they_are_old() -> None:
    time = Time()
    lockout = Lockout(3, 90, time=time)
    assert [lockout.fail("joe") for _ in range(3)] == [False, False, True]
    assert lockout.locked("joe")
    assert not lockout.locked("ann")
    time.now = 89
    assert lockout.locked("joe")
    assert not lockout.fail("joe")
    time.now = 91
    assert not lockout.locked("joe")
    assert not lockout.fail("joe")


def test_a_failure_now_and_then_never_locks() -> None:
    time = Time()
    lockout = Lockout(3, 90, time=time)
    for _ in range(100):
        assert not lockout.fail("joe")
        time.now += 30


def test_memory_is_bounded() -> None:
    lockout = Lockout(2, 90, time=Time(), max_keys=100)
    for number in range(1000):
        lockout.fail(str(number))
    assert len(lockout.rows()) == 100
    assert lockout.fail("999")
    assert lockout.locked("999")
    assert not lockout.locked("1")


def test_locks_grow_up_to_the_longest_and_begin_anew_after_a_quiet_time() -> None:
    time = Time()
    time.now = 1000.0
    lockout = Lockout(2, 60, longest_s=200, time=time)
    for expected in (60, 120, 200, 200):
        assert [lockout.fail("joe"), lockout.fail("joe")] == [False, True]
        assert lockout.left_s("joe") == expected
        time.now += expected + 1
    time.now += 200
    assert [lockout.fail("joe"), lockout.fail("joe")] == [False, True]
    assert lockout.left_s("joe") == 60


def test_what_is_kept_elsewhere_locks_as_before() -> None:
    time = Time()
    first, second = Lockout(2, 60, time=time), Lockout(2, 60, time=time)
    assert [first.fail("joe"), first.fail("joe")] == [False, True]
    second.put(first.rows())
    assert second.left_s("joe") == 60
    assert second.forget("joe")
    assert not second.locked("joe")
    assert not second.forget("joe")


def test_a_clock_that_is_set_back_prolongs_no_lock() -> None:
    time = Time()
    time.now = 100_000.0
    lockout = Lockout(1, 60, time=time)
    assert lockout.fail("joe")
    time.now = 10.0
    assert lockout.left_s("joe") == 60


def test_no_limit_locks_nobody() -> None:
    lockout = Lockout(0, 90)
    assert not any(lockout.fail("joe") for _ in range(100))
    assert not lockout.locked("joe")


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_one_host_is_one_source(ip: str, key: str) -> None:
    assert source_of(ip) == key
