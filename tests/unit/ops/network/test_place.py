"""Own addresses by name, hosts by the configured name servers; nothing else gets to a program."""

from typing import Any

import pytest

from core.errors import GatepostError
from ops.network.place import Place, Target, find, link_of, places, source_of
from tests.support.dns_server import DnsServer

CONFIGURATION: dict[str, Any] = {
    "interface": [{"name": "Management", "address": "192.0.2.2"}],
    "listener": [
        {"name": "InboundMail", "address": "192.0.2.2"},
        {"name": "Six", "address": "2001:db8::1"},
        {"name": "Every", "address": "0.0.0.0"},
    ],
}


def test_addresses_are_listed_once_by_their_first_name() -> None:
    assert places(CONFIGURATION) == [Place("Management", "192.0.2.2"), Place("Six", "2001:db8::1")]
    assert places({}) == []


def test_a_source_is_a_name_an_address_or_left_to_the_system() -> None:
    known = places(CONFIGURATION)
    assert source_of("management", known) == "192.0.2.2"
    assert source_of("198.51.100.1", known) == "198.51.100.1"
    assert source_of("Auto", known) == source_of("", known) == ""
    with pytest.raises(GatepostError, match="no interface or listener of that name") as raised:
        source_of("--flood", known)
    assert raised.value.status == 66


@pytest.mark.parametrize("text", ["-w", "", "eth0;id", "a" * 16, "eth0 eth1", "../x"])
def test_a_device_name_that_could_be_something_else_is_refused(text: str) -> None:
    with pytest.raises(GatepostError):
        link_of(text)


async def test_a_host_is_found_in_the_family_of_the_source() -> None:
    zone = ("mx.test. 60 IN A 192.0.2.7", "mx.test. 60 IN AAAA 2001:db8::7", "four.test. 60 IN A 192.0.2.8")
    async with DnsServer(*zone) as dns:
        configuration = {"dns": {"servers": [dns.address]}}
        assert await find(configuration, "mx.test") == Target("mx.test", "192.0.2.7")
        assert await find(configuration, "mx.test", "2001:db8::1") == Target("mx.test", "2001:db8::7")
        with pytest.raises(GatepostError, match="no address of IPv6"):
            await find(configuration, "four.test", "2001:db8::1")
        with pytest.raises(GatepostError, match="-rf has no address"):
            await find(configuration, "-rf")
    assert await find({}, "localhost") == Target("localhost", "127.0.0.1")
    assert await find({}, "192.0.2.7") == Target("192.0.2.7", "192.0.2.7")
    with pytest.raises(GatepostError, match="cannot be reached from an address of IPv6"):
        await find({}, "192.0.2.7", "2001:db8::1")
