"""`core.own_address`: what counts as this machine when mail would be sent to it."""

from pathlib import Path

import pytest

from core.own_address import KEPT_S, OwnAddresses, local_networks

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 link UNICAST
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
"""
SIX = """00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000007 04 40 00 82     eth0
"""


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "fib_trie").write_text(TRIE)
    (tmp_path / "if_inet6").write_text(SIX)
    return tmp_path


def test_a_wildcard_listener_was_not_known_as_own_address(proc: Path) -> None:
    own = OwnAddresses(["0.0.0.0"], proc=proc)
    assert all(one in own for one in ("127.0.0.1", "127.9.9.9", "192.0.2.2", "0.0.0.0", "::ffff:192.0.2.2"))
    assert not any(one in own for one in ("192.0.2.3", "192.0.2.255", "192.0.2.0", "2001:db8::7", "::1", "nonsense"))
    six = OwnAddresses(["::"], proc=proc)
    assert all(one in six for one in ("::1", "2001:db8::7", "::"))
    assert not any(one in six for one in ("192.0.2.2", "127.0.0.1", "2001:db8::8"))


def test_a_listener_of_one_address_is_that_address_only(proc: Path) -> None:
    own = OwnAddresses(["192.0.2.2", "2001:DB8::7"], proc=proc)
    assert "192.0.2.2" in own
    assert "2001:db8::7" in own
    assert not any(one in own for one in ("127.0.0.1", "0.0.0.0", "::1"))
    assert "192.0.2.2" not in OwnAddresses([], proc=proc)


def test_an_address_that_comes_later_is_known_after_a_minute(proc: Path) -> None:
    time = [0.0]
    own = OwnAddresses(["0.0.0.0"], proc=proc, monotonic=lambda: time[0])
    assert "192.0.2.9" not in own
    (proc / "fib_trie").write_text(TRIE.replace("|-- 192.0.2.2\n", "|-- 192.0.2.9\n"))
    assert "192.0.2.9" not in own
    time[0] = KEPT_S
    assert "192.0.2.9" in own


def test_without_proc_the_loopback_is_known(tmp_path: Path) -> None:
    assert "127.0.0.1" in OwnAddresses(["0.0.0.0"], proc=tmp_path / "none")


def test_the_kernel_of_this_machine_is_understood() -> None:
    assert "127.0.0.0/8" in map(str, local_networks())
