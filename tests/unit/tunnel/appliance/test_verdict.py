"""tunnel.appliance.verdict: who speaks, told by the first octets."""

import pytest

from tunnel.appliance.verdict import of_banner


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"SSH-2.0-Gatepost_1.0 GatepostTunnels1\r\n", "ours"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "foreign-ssh"),
        (b"220 mail.example.test ESMTP\r\n", "smtp"),
        (b"220 ************\r\n", "smtp"),
        (b"554 no\r\n", "smtp"),
        (b"HTTP/1.1 400 Bad Request\r\n", "http"),
        (b"<html>", "http"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "tls"),
        (b"hello\r\n", "unknown"),
        (b"", "closed"),
    ],
)
def test_who_speaks(first: bytes, name: str) -> None:
    verdict = of_banner(first)
    assert verdict.name == name
    assert bool(verdict.advice) is (name != "ours")
