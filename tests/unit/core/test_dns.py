"""The resolver against a real server on the loopback."""

import asyncio

import dns.rcode
import pytest
from pydantic import ValidationError

from core.config.section import DnsSection, PrivateDomainSection
from core.dns import DnsError, DnsNotFound, DnsTemporary, Mx, Resolver, Srv, resolver_of
from tests.support.dns_server import DnsServer


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_mail_exchangers_come_lowest_preference_first() -> None:
    async with DnsServer("x.test. 300 IN MX 20 b.x.test.", "x.test. 300 IN MX 10 A.x.test.") as server:
        answer = await Resolver([server.address]).mx("X.test.")
    assert answer.records == (Mx(10, "a.x.test"), Mx(20, "b.x.test"))
    assert answer.ttl_s == 300
    assert not answer.secure


async def test_the_null_exchanger_is_a_lone_dot() -> None:
    async with DnsServer("x.test. 300 IN MX 0 .") as server:
        assert (await Resolver([server.address]).mx("x.test")).records == (Mx(0, "."),)


async def test_addresses_of_both_families_come_ipv6_first() -> None:
    async with DnsServer("h.test. 60 IN A 192.0.2.1", "h.test. 30 IN AAAA 2001:db8::1", secure=True) as server:
        answer = await Resolver([server.address]).addresses("h.test")
    assert answer.records == ("2001:db8::1", "192.0.2.1")
    assert (answer.ttl_s, answer.secure) == (30, True)


async def test_an_address_needs_no_lookup() -> None:
    assert (await Resolver(["127.0.0.1:1"]).addresses("192.0.2.1")).records == ("192.0.2.1",)


async def test_services_and_reverse_names() -> None:
    async with DnsServer(
        "_s._tcp.x.test. 300 IN SRV 10 5 2022 b.x.test.",
        "_s._tcp.x.test. 300 IN SRV 10 9 2023 c.x.test.",
        "1.2.0.192.in-addr.arpa. 300 IN PTR Host.x.test.",
    ) as server:
        resolver = Resolver([server.address])
        assert (await resolver.srv("_s._tcp.x.test")).records == (
            Srv(10, 9, 2023, "c.x.test"),
            Srv(10, 5, 2022, "b.x.test"),
        )
        assert (await resolver.ptr("192.0.2.1")).records == ("host.x.test",)


async def test_a_name_without_the_record_is_not_a_name_that_is_missing() -> None:
    async with DnsServer("h.test. 60 IN A 192.0.2.1") as server:
        resolver = Resolver([server.address])
        assert (await resolver.mx("h.test")).records == ()
        with pytest.raises(DnsNotFound) as caught:
            await resolver.mx("nowhere.test")
        assert (caught.value.name, caught.value.kind, caught.value.reason) == ("nowhere.test", "MX", "NXDomain")
        with pytest.raises(DnsNotFound):
            await resolver.addresses("nowhere.test")


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
async def test_a_server_that_cannot_tell_is_temporary_and_not_kept(code: dns.rcode.Rcode) -> None:
    async with DnsServer("x.test. 300 IN MX 10 a.x.test.", rules={("x.test", "MX"): code}) as server:
        resolver = Resolver([server.address])
        with pytest.raises(DnsTemporary):
            await resolver.mx("x.test")
        server.rules.clear()
        assert (await resolver.mx("x.test")).records


async def test_silence_is_temporary_within_the_time_allowed() -> None:
    async with DnsServer(rules={("x.test", "MX"): "silent"}) as server:
        resolver = Resolver([server.address], timeout_s=0.1)
        async with asyncio.timeout(30):
            with pytest.raises(DnsTemporary, match="Timeout"):
                await resolver.mx("x.test")
    assert resolver.statistics.failures == 1


async def test_the_next_server_is_asked_when_one_fails() -> None:
    async with (
        DnsServer(rules={("x.test", "MX"): dns.rcode.SERVFAIL}) as bad,
        DnsServer("x.test. 300 IN MX 10 a.x.test.") as good,
    ):
        assert (await Resolver([bad.address, good.address]).mx("x.test")).records


async def test_a_cut_answer_is_asked_for_again_over_tcp() -> None:
    records = [f"x.test. 300 IN MX {number} mx{number}.x.test." for number in range(60)]
    async with DnsServer(*records, rules={("x.test", "MX"): "truncate"}) as server:
        answer = await Resolver([server.address]).mx("x.test")
    assert len(answer.records) == 60
    assert [way for *_, way in server.asked] == ["udp", "tcp"]


async def test_the_number_of_records_is_capped() -> None:
    records = [f"h.test. 300 IN A 192.0.2.{number}" for number in range(200)]
    async with DnsServer(*records, rules={("h.test", "A"): "truncate"}) as server:
        assert len((await Resolver([server.address]).addresses("h.test")).records) == 64


async def test_the_best_of_very_many_exchangers_were_left_out() -> None:
    """The answer was cut at 64 before it was sorted."""
    lines = [f"x.test. 300 IN MX {500 - n} h{n}.x.test." for n in range(500)]
    async with DnsServer(*lines) as server:
        answer = await Resolver([server.address]).mx("x.test")
    assert [one.preference for one in answer.records] == list(range(1, 65))


async def test_aliases_are_followed() -> None:
    async with DnsServer("a.test. 9 IN CNAME b.test.", "b.test. 60 IN A 192.0.2.1") as server:
        answer = await Resolver([server.address]).addresses("a.test")
    assert (answer.records, answer.ttl_s) == (("192.0.2.1",), 9)


async def test_a_ring_of_aliases_ends() -> None:
    async with DnsServer("a.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME a.test.") as server:
        async with asyncio.timeout(30):
            with pytest.raises(DnsError):
                await Resolver([server.address]).addresses("a.test")
    assert len(server.asked) < 50


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".test", "a\u200b.test\u200b", "x." * 200 + "test"])
async def test_what_is_no_domain_name_is_not_found(name: str) -> None:
    async with DnsServer() as server:
        with pytest.raises(DnsNotFound):
            await Resolver([server.address]).mx(name)


async def test_answers_are_kept_for_their_ttl() -> None:
    clock = Clock()
    async with DnsServer("x.test. 300 IN MX 10 a.x.test.") as server:
        resolver = Resolver([server.address], monotonic=clock)
        await resolver.mx("x.test")
        clock.now += 299
        await resolver.mx("X.TEST")
        assert len(server.asked) == 1
        clock.now += 2
        await resolver.mx("x.test")
        assert len(server.asked) == 2
    counted = resolver.statistics
    assert (counted.requests, counted.network_requests) == (3, 2)
    assert (counted.cache_hits, counted.cache_misses, counted.cache_expired) == (1, 2, 1)


async def test_a_missing_name_is_kept_for_a_short_time() -> None:
    clock = Clock()
    async with DnsServer() as server:
        resolver = Resolver([server.address], monotonic=clock)
        for _ in range(3):
            with pytest.raises(DnsNotFound):
                await resolver.mx("x.test")
        assert len(server.asked) == 1
        clock.now += 301
        with pytest.raises(DnsNotFound):
            await resolver.mx("x.test")
        assert len(server.asked) == 2


async def test_the_cache_is_bounded() -> None:
    async with DnsServer(*(f"{number}.test. 300 IN MX 10 a." for number in range(5))) as server:
        resolver = Resolver([server.address], cache_size=3)
        for number in (0, 1, 2, 3, 4, 4, 3, 2):
            await resolver.mx(f"{number}.test")
        assert len(server.asked) == 5
        await resolver.mx("0.test")
        assert len(server.asked) == 6
        resolver.flush()
        await resolver.mx("4.test")
        assert len(server.asked) == 7


async def test_the_same_question_at_the_same_time_is_asked_once() -> None:
    async with DnsServer("x.test. 300 IN MX 10 a.x.test.") as server:
        resolver = Resolver([server.address])
        answers = await asyncio.gather(*(resolver.mx("x.test") for _ in range(10)))
        assert len(server.asked) == 1
    assert len({id(answer) for answer in answers}) == 1


async def test_one_who_stops_waiting_does_not_take_the_answer_from_the_others() -> None:
    async with DnsServer("x.test. 300 IN MX 10 a.x.test.") as server:
        resolver = Resolver([server.address])
        async with asyncio.TaskGroup() as group:
            first = group.create_task(resolver.mx("x.test"))
            second = group.create_task(resolver.mx("x.test"))
            await asyncio.sleep(0)
            first.cancel()
        assert second.result().records
        assert len(server.asked) == 1


async def test_ids_and_ports_differ_from_question_to_question() -> None:
    async with DnsServer(*(f"{number}.test. 300 IN MX 10 a." for number in range(8))) as server:
        resolver = Resolver([server.address])
        for number in range(8):
            await resolver.mx(f"{number}.test")
    assert len(set(server.ids)) > 6
    assert len(set(server.ports)) > 1


@pytest.mark.parametrize("text", ["ns.test:53", "127.0.0.1:x", ""])
def test_a_server_is_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Resolver([text])


async def test_an_answer_that_is_cut_over_tcp_too_was_taken_for_a_domain_without_hosts() -> None:
    async with DnsServer("x.test. 300 IN MX 10 a.x.test.", rules={("x.test", "MX"): "cut"}) as server:
        with pytest.raises(DnsTemporary, match="Truncated"):
            await Resolver([server.address]).mx("x.test")


async def test_servers_are_asked_in_the_order_of_their_priorities() -> None:
    async with DnsServer("a.test. 60 IN A 192.0.2.1") as first, DnsServer("a.test. 60 IN A 192.0.2.2") as second:
        resolver = resolver_of(DnsSection(servers=(f"{first.address}/pri=10", f"{second.address}/pri=0")))
        assert resolver.servers == [second.address, first.address]
        assert (await resolver.addresses("a.test")).records == ("192.0.2.2",)


async def test_a_private_domain_has_servers_of_its_own_and_a_change_forgets_what_was_found() -> None:
    async with DnsServer("a.b.test. 60 IN A 192.0.2.1") as everybody, DnsServer("a.b.test. 60 IN A 10.0.0.1") as own:
        private = PrivateDomainSection(domain="B.test", servers=(own.address,))
        resolver = resolver_of(DnsSection(servers=(everybody.address,), private=(private,)))
        assert (await resolver.addresses("a.b.test")).records == ("10.0.0.1",)
        resolver.follow(DnsSection(servers=(everybody.address,)))
        assert (await resolver.addresses("a.b.test")).records == ("192.0.2.1",)


@pytest.mark.parametrize("server", ["ns.example.test", "127.0.0.1/pri=99999", "127.0.0.1/weight=1", "127.0.0.1:0"])
def test_a_server_that_cannot_be_asked_is_a_fault_of_the_configuration(server: str) -> None:
    with pytest.raises(ValidationError):
        DnsSection(servers=(server,))
