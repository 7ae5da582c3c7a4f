"""Doubly verified names, asked of a real DNS server."""

import asyncio

from core.config.section import DnsSection
from core.dns import Resolver, resolver_of
from core.reverse import UNKNOWN, ReverseName, ReverseNames
from tests.support.dns_server import DnsServer

PTR = "7.2.0.192.in-addr.arpa."
ZONE = (f"{PTR} 300 IN PTR MX.Client.test.", "mx.client.test. 300 IN A 192.0.2.7")


async def test_a_name_that_leads_back_is_verified_and_kept() -> None:
    async with DnsServer(*ZONE) as dns:
        names = ReverseNames(Resolver([dns.address]), timeout_s=5)
        assert names.known("192.0.2.7") is None
        assert await names.find("192.0.2.7") == ReverseName("mx.client.test", True)
        asked = len(dns.asked)
        assert names.known("192.0.2.7") == await names.find("192.0.2.7") == ReverseName("mx.client.test", True)
        assert len(dns.asked) == asked


async def test_a_name_that_leads_elsewhere_or_nowhere_is_not_verified() -> None:
    elsewhere = "mx.client.test. 300 IN A 192.0.2.8"
    for zone in ((ZONE[0], elsewhere), ZONE[:1]):
        async with DnsServer(*zone) as dns:
            names = ReverseNames(Resolver([dns.address]), timeout_s=5)
            assert await names.find("192.0.2.7") == ReverseName("mx.client.test", False)


async def test_the_second_of_two_names_may_be_the_one() -> None:
    async with DnsServer(f"{PTR} 300 IN PTR a.other.test.", *ZONE) as dns:
        found = await ReverseNames(Resolver([dns.address]), timeout_s=5).find("192.0.2.7")
    assert found == ReverseName("mx.client.test", True)


async def test_an_address_without_a_name_and_a_server_that_says_nothing_are_unknown() -> None:
    async with DnsServer(*ZONE) as dns:
        assert await ReverseNames(Resolver([dns.address]), timeout_s=5).find("192.0.2.9") == UNKNOWN
    async with DnsServer(rules={(PTR.rstrip("."), "PTR"): "silent"}) as dns:
        names = ReverseNames(Resolver([dns.address], timeout_s=30), timeout_s=0.05)
        async with asyncio.timeout(30):
            assert await names.find("192.0.2.7") == UNKNOWN
        assert names.known("192.0.2.7") == UNKNOWN, "the next connection of a host that cannot be asked must not wait"


async def test_memory_and_life_are_bounded() -> None:
    now = 0.0
    async with DnsServer(*ZONE) as dns:
        names = ReverseNames(Resolver([dns.address]), timeout_s=5, kept=2, monotonic=lambda: now)
        for last in (7, 8, 9):
            await names.find(f"192.0.2.{last}")
        assert names.known("192.0.2.7") is None
        assert names.known("192.0.2.9") == UNKNOWN
        now = 4000.0
        assert names.known("192.0.2.9") is None


async def test_with_a_time_out_of_0_nobody_is_asked() -> None:
    async with DnsServer("1.0.0.127.in-addr.arpa. 60 IN PTR h.test.", "h.test. 60 IN A 127.0.0.1") as dns:
        resolver = resolver_of(DnsSection(servers=(dns.address,), reverse_timeout_s=0))
        names = ReverseNames(resolver, timeout_s=5)
        assert await names.find("127.0.0.1") is UNKNOWN
        assert resolver.statistics.requests == 0
        resolver.follow(DnsSection(servers=(dns.address,)))
        assert (await names.find("127.0.0.1")).name == "h.test"
