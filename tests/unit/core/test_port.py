"""Ports to listen on."""

import errno

import pytest

from core.errors import EX_UNAVAILABLE, GatepostError
from core.port import REMEDIES, bind, listen, start, taken


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_takes_connections_without_blocking(host: str) -> None:
    with listen("a test", host, 0, backlog=5) as sock:
        assert sock.getsockname()[0] == host
        with pytest.raises(BlockingIOError):
            sock.accept()


def test_a_port_that_is_taken_is_named_with_who_wanted_it() -> None:
    """An SSH listener ended its daemon with a traceback and status 70 instead."""
    with listen("first", "127.0.0.1", 0, backlog=5) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(GatepostError, match=f"console: cannot listen on 127.0.0.1:{port}: .*in use") as caught:
            listen("console", "127.0.0.1", port, backlog=5)
    assert caught.value.status == EX_UNAVAILABLE


def test_a_port_can_be_shared_on_purpose() -> None:
    with (
        listen("one", "127.0.0.1", 0, backlog=5, reuse_port=True) as first,
        listen("two", "127.0.0.1", first.getsockname()[1], backlog=5, reuse_port=True) as second,
    ):
        assert first.getsockname() == second.getsockname()


def test_each_reason_has_its_own_remedy() -> None:
    """A refused low port and a foreign address were both asked "is another process using it?"."""
    with pytest.raises(GatepostError, match="this machine does not have that address"):
        listen("console", "192.0.2.1", 0, backlog=5)
    assert "CAP_NET_BIND_SERVICE" in REMEDIES[errno.EACCES]


def test_who_shares_a_port_is_seen_and_who_is_only_bound_is_not() -> None:
    with bind("one", "127.0.0.1", 0, reuse_port=True) as sock:
        port = sock.getsockname()[1]
        assert not taken("127.0.0.1", port)
        start("one", sock, 5)
        assert taken("127.0.0.1", port)
        assert taken("0.0.0.0", port)
    assert not taken("127.0.0.1", port)


def test_an_address_that_is_not_there_is_not_called_taken() -> None:
    with pytest.raises(GatepostError, match="does not have that address"):
        taken("192.0.2.1", 25)
