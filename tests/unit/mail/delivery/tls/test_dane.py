"""`mail.delivery.tls.dane`: what could not be looked up is never taken for "no records"."""

import dns.rcode
import pytest

from core.dns import Mx, Resolver
from core.smtp.target import Target
from mail.delivery.resolve import Resolution
from mail.delivery.security import HostUnusable
from mail.delivery.tls.dane import Dane
from tests.support.dns_server import DnsServer

TLSA = "_25._tcp.mx.x.test. 300 IN TLSA 3 1 1 " + "ab" * 32
ZONE = ("x.test. 300 IN MX 10 mx.x.test.", "mx.x.test. 300 IN A 127.0.0.1")
HOSTS = (((Target("mx.x.test", "127.0.0.1", 25, 10),),),)
RESOLUTION = Resolution(HOSTS, 300, mx=(Mx(10, "mx.x.test"),))


def dane(server: DnsServer, *, validating: bool = True) -> Dane:
    return Dane(Resolver([server.address], timeout_s=1, validating=validating))


async def test_records_bind_a_host_only_where_dnssec_vouches_for_all_of_it() -> None:
    async with DnsServer(*ZONE, TLSA, secure=True) as server:
        found = await dane(server).hosts("x.test", RESOLUTION)
        assert found["mx.x.test"].names == ("mx.x.test", "x.test")
        assert len(found["mx.x.test"].usable) == 1
        assert await dane(server, validating=False).hosts("x.test", RESOLUTION) == {}
    async with DnsServer(*ZONE, TLSA, secure=False) as server:
        assert await dane(server).hosts("x.test", RESOLUTION) == {}
    async with DnsServer(*ZONE, secure=True) as server:
        assert await dane(server).hosts("x.test", RESOLUTION) == {}


@pytest.mark.parametrize("rule", [dns.rcode.SERVFAIL, "silent"])
async def test_a_failed_tlsa_lookup_makes_the_host_unusable(rule: dns.rcode.Rcode | str) -> None:
    async with DnsServer(*ZONE, secure=True, rules={("_25._tcp.mx.x.test", "TLSA"): rule}) as server:
        found = await dane(server).hosts("x.test", RESOLUTION)
    assert found["mx.x.test"].problem


async def test_an_mx_that_cannot_be_confirmed_does_not_switch_dane_off() -> None:
    """A SERVFAIL between the resolution and the plan led to a connection without DANE."""
    async with DnsServer(*ZONE, TLSA, secure=True, rules={("x.test", "MX"): dns.rcode.SERVFAIL}) as server:
        with pytest.raises(HostUnusable, match="cannot be looked up again"):
            await dane(server).hosts("x.test", RESOLUTION)
    async with DnsServer("x.test. 300 IN MX 10 other.x.test.", secure=True) as server:
        with pytest.raises(HostUnusable, match="has just changed"):
            await dane(server).hosts("x.test", RESOLUTION)


async def test_an_alias_is_bound_by_the_name_it_leads_to_or_by_its_own() -> None:
    zone = (
        "x.test. 300 IN MX 10 mx.x.test.",
        "mx.x.test. 300 IN CNAME real.y.test.",
        "real.y.test. 300 IN A 127.0.0.1",
    )
    own = TLSA
    far = "_25._tcp.real.y.test. 300 IN TLSA 3 1 1 " + "cd" * 32
    async with DnsServer(*zone, own, far, secure=True) as server:
        assert (await dane(server).hosts("x.test", RESOLUTION))["mx.x.test"].base == "real.y.test"
    async with DnsServer(*zone, own, secure=True) as server:
        assert (await dane(server).hosts("x.test", RESOLUTION))["mx.x.test"].base == "mx.x.test"
