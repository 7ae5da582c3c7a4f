"""The attributes of XCLIENT."""

import pytest

from protocol.smtp.command import CommandError
from protocol.smtp.conversation import Peer
from protocol.smtp.xclient import introduced, parse_xclient

PROXY = Peer("127.0.0.1", 999, "127.0.0.2", 25, name="balancer.test", verified=True)


def test_all_attributes_make_another_peer() -> None:
    said = parse_xclient(
        b"NAME=mx.client.test ADDR=192.0.2.7 PORT=40000 PROTO=esmtp HELO=he+2Blo LOGIN=joe+40d.test"
        b" DESTADDR=IPV6:2001:DB8::1 DESTPORT=2525"
    )
    peer = introduced(PROXY, said)
    assert peer == Peer("192.0.2.7", 40000, "2001:db8::1", 2525, "mx.client.test", True, "he+lo", "ESMTP", "joe@d.test")


def test_what_is_unavailable_is_empty_and_an_address_brings_no_name_of_another() -> None:
    peer = introduced(PROXY, parse_xclient(b"NAME=[UNAVAILABLE] ADDR=192.0.2.7 LOGIN=[TEMPUNAVAIL]"))
    assert (peer.host, peer.name, peer.verified, peer.login) == ("192.0.2.7", "", False, "")
    moved = introduced(PROXY, parse_xclient(b"ADDR=192.0.2.8"))
    assert (moved.host, moved.name, moved.verified) == ("192.0.2.8", "", False)
    same = introduced(PROXY, parse_xclient(b"HELO=c"))
    assert (same.name, same.verified, same.helo) == ("balancer.test", True, "c")


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"ADDR",
        b"COLOUR=red",
        b"ADDR=1.2.3.4 ADDR=1.2.3.5",
        b"ADDR=nowhere",
        b"ADDR=IPV6:fe80::1%+0D+0AX-Forged:+20yes",  # the zone of an address came into log and trace line as it was
        b"DESTADDR=fe80::1%eth0",
        b"PORT=70000",
        b"PROTO=UUCP",
        b"NAME=a+0Db",
        b"HELO=a+0D+0Ab",
        b"HELO=a+0db",
        b"HELO=" + b"h" * 256,
        b"LOGIN=\xc3\xa9",
    ],
)
def test_a_malformed_attribute_is_501(argument: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        parse_xclient(argument)
    assert caught.value.reply.code == 501
