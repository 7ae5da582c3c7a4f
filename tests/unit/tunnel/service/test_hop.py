"""Where support may go on to."""

import pytest

from tunnel.service.hop import HopRule, comes_from, refusal

PRIVATE = HopRule(("10.0.0.0/8", "192.168.0.0/16", "fc00::/7"))
LISTED = ("10.1.1.5", "192.168.7.7", "fd00::5")


@pytest.mark.parametrize("host", ["10.1.1.5", "192.168.7.7", "fd00::5", "FD00:0::5", "::ffff:10.1.1.5"])
def test_what_is_listed_and_private_may_be_reached(host: str) -> None:
    assert refusal(LISTED, PRIVATE, host, 22) == ""


@pytest.mark.parametrize(
    ("host", "port"),
    [("10.1.1.5", 23), ("10.1.1.6", 22), ("sma", 22), ("", 22), ("10.1.1.5%eth0", 22), ("0x0a010105", 22)],
)
def test_another_port_address_or_a_name_may_not(host: str, port: int) -> None:
    assert refusal(LISTED, PRIVATE, host, port)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "0.0.0.0",
        "224.0.0.1",
        "8.8.8.8",
    ],
)
def test_what_must_never_be_reached_is_not_even_if_it_is_listed(host: str) -> None:
    everywhere = HopRule(("0.0.0.0/0", "::/0")) if host != "8.8.8.8" else PRIVATE
    assert refusal((host,), everywhere, host, 22)


def test_loopback_counts_where_a_network_within_loopback_is_listed() -> None:
    assert refusal(("127.65.2.1",), HopRule(("127.65.2.1/32",)), "127.65.2.1", 22) == ""
    assert refusal(("127.65.2.2",), HopRule(("127.65.2.1/32",)), "127.65.2.2", 22)


def test_sources_are_networks() -> None:
    assert comes_from(("10.0.0.0/24", "fd00::/64"), "10.0.0.9")
    assert comes_from(("10.0.0.0/24",), "::ffff:10.0.0.9")
    assert not comes_from(("10.0.0.0/24",), "10.0.1.9")
    assert not comes_from((), "10.0.0.9")
    assert not comes_from(("10.0.0.0/24",), "")
