"""The PROXY header: both versions, in pieces, and what is none."""

import pytest

from protocol.proxy import SIGNATURE, Ends, ProxyError, ProxyHeader

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n"
ENDS = Ends("192.0.2.7", 40000, "198.51.100.1", 25)


def block(command: int = 0x21, family: int = 0x11, data: bytes = b"", more: bytes = b"") -> bytes:
    data = data or bytes([192, 0, 2, 7, 198, 51, 100, 1]) + (40000).to_bytes(2, "big") + (25).to_bytes(2, "big")
    data += more
    return SIGNATURE + bytes([command, family]) + len(data).to_bytes(2, "big") + data


@pytest.mark.parametrize("header", [LINE, block(), block(more=b"\x04\x00\x10" + bytes(16))])
def test_the_ends_are_read_and_what_follows_is_left(header: bytes) -> None:
    one = ProxyHeader()
    assert one.take(header + b"EHLO c\r\n") == len(header)
    assert (one.complete, one.ends) == (True, ENDS)


@pytest.mark.parametrize("header", [LINE, block()])
def test_a_header_in_single_octets_is_the_same(header: bytes) -> None:
    one = ProxyHeader()
    for at in range(len(header)):
        assert not one.complete
        assert one.take(header[at : at + 1]) == 1
    assert (one.complete, one.ends) == (True, ENDS)


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:: ffff:: 1 2\r\n", block(0x20, 0x00)])
def test_a_balancer_that_speaks_for_itself_names_no_ends(header: bytes) -> None:
    one = ProxyHeader()
    assert one.take(header) == len(header)
    assert (one.complete, one.ends) == (True, None)


def test_ipv6_ends_and_mapped_ones() -> None:
    one = ProxyHeader()
    one.take(b"PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 40000 25\r\n")
    assert one.ends == Ends("2001:db8::7", 40000, "198.51.100.1", 25)
    two = ProxyHeader()
    two.take(block(family=0x21, data=bytes(15) + b"\1" + bytes(15) + b"\2" + b"\x9c\x40\0\x19"))
    assert two.ends == Ends("::1", 40000, "::2", 25)


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO client.test\r\n",
        b"\x16\x03\x01",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 70000\r\n",
        b"PROXY TCP4 2001:db8::7 198.51.100.1 1 25\r\n",
        b"PROXY TCP6 fe80::1%\x1b[31m ::1 1 25\r\n",  # the zone of an address came into the log as it was
        b"PROXY UDP4 192.0.2.7 198.51.100.1 1 25\r\n",
        b"PROXY TCP4 " + b"1" * 120,
        SIGNATURE + b"\x21\x11\xff\xff",
        block(0x31),
        block(0x21, 0x12),
        block(data=b"\1\2\3"),
    ],
)
def test_what_is_no_header_is_an_error_within_bounds(octets: bytes) -> None:
    with pytest.raises(ProxyError):
        ProxyHeader().take(octets)
