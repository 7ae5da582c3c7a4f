import pytest

from mail.login.lockout import Lockout, source_of


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_too_many_failures_lock_until_they_are_old() -> None:
    time = Time()
    lockout = Lockout(3, 90, monotonic=time)
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
    lockout = Lockout(3, 90, monotonic=time)
    for _ in range(100):
        assert not lockout.fail("joe")
        time.now += 30


def test_memory_is_bounded() -> None:
    lockout = Lockout(2, 90, monotonic=Time(), max_keys=100)
    for number in range(1000):
        lockout.fail(str(number))
    assert len(lockout._failures) == 100
    assert lockout.fail("999")
    assert lockout.locked("999")
    assert not lockout.locked("1")


def test_no_limit_locks_nobody() -> None:
    lockout = Lockout(0, 90)
    assert not any(lockout.fail("joe") for _ in range(100))
    assert not lockout.locked("joe")


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_one_host_is_one_source(ip: str, key: str) -> None:
    assert source_of(ip) == key
