"""The way from root servers to those that know, through real servers on one port of several loopback addresses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from core.config.section import DnsSection
from core.dns import DnsNotFound, DnsTemporary, Resolver
from core.dns_root import Descent

ROOT, TEST, OTHER = "127.78.0.1", "127.78.0.2", "127.78.0.3"


class Zone(asyncio.DatagramProtocol):
    """One server: what it answers by itself, and which zones it sends on to whom."""

    def __init__(self, records: list[str], delegations: list[str], glue: list[str]) -> None:
        self.records = [dns.rrset.from_text(*_parts(one)) for one in records]
        self.delegations = [dns.rrset.from_text(*_parts(one)) for one in delegations]
        self.glue = [dns.rrset.from_text(*_parts(one)) for one in glue]
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        self.asked.append(question.name.to_text(omit_final_dot=True))
        assert not query.flags & dns.flags.RD
        response = dns.message.make_response(query)
        kinds = (question.rdtype, dns.rdatatype.CNAME)
        found = [one for one in self.records if one.name == question.name and one.rdtype in kinds]
        below = [one for one in self.delegations if question.name.is_subdomain(one.name)]
        if found:
            response.answer += found
            response.flags |= dns.flags.AA
        elif below:
            response.authority += below
            response.additional += self.glue
        else:
            response.flags |= dns.flags.AA
            if not any(one.name == question.name for one in self.records):
                response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), address)  # type: ignore[attr-defined]


def _parts(line: str) -> tuple[str, int, str, str, str]:
    name, ttl, class_, kind, data = line.split(None, 4)
    return name, int(ttl), class_, kind, data


class World:
    def __init__(self) -> None:
        self.root = Zone(
            [],
            ["test. 300 IN NS ns.test.", "other. 300 IN NS ns.far.test."],
            [f"ns.test. 300 IN A {TEST}", "elsewhere. 300 IN A 192.0.2.66"],
        )
        self.test = Zone(
            [
                "a.test. 60 IN A 192.0.2.1",
                "alias.test. 60 IN CNAME b.other.",
                f"ns.far.test. 60 IN A {OTHER}",
                "ns.test. 60 IN A " + TEST,
            ],
            ["lost.test. 60 IN NS ns.lost.test.", "evil.test. 60 IN NS ns.other."],
            ["ns.other. 60 IN A 127.78.0.2"],
        )
        self.other = Zone(["b.other. 60 IN A 192.0.2.2"], [], [])
        self.port = 0

    def resolver(self) -> Resolver:
        resolver = Resolver(timeout_s=5)
        resolver.follow(DnsSection(root=True, timeout_s=5))
        resolver._descent = Descent(resolver._first, hints=[ROOT], port=self.port)
        return resolver


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world, loop = World(), asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        for host, zone in ((ROOT, world.root), (TEST, world.test), (OTHER, world.other)):
            transport, _ = await loop.create_datagram_endpoint(lambda z=zone: z, (host, world.port))
            stack.callback(transport.close)
            world.port = transport.get_extra_info("sockname")[1]
        yield world


async def test_a_name_is_found_from_the_root_and_the_next_one_without_it(world: World) -> None:
    resolver = world.resolver()
    assert (await resolver.addresses("a.test")).records == ("192.0.2.1",)
    asked = len(world.root.asked)
    assert asked
    with pytest.raises(DnsNotFound):
        await resolver.mx("nothing.test")
    assert len(world.root.asked) == asked
    resolver.flush()
    await resolver.addresses("a.test")
    assert len(world.root.asked) > asked


async def test_an_alias_leads_into_a_zone_whose_server_is_found_by_its_name(world: World) -> None:
    answer = await world.resolver().addresses("alias.test")
    assert (answer.records, answer.canonical) == (("192.0.2.2",), "b.other")
    assert not answer.secure


async def test_a_zone_whose_servers_cannot_be_found_is_a_failure_for_now(world: World) -> None:
    with pytest.raises(DnsTemporary):
        await world.resolver().addresses("x.lost.test")


async def test_an_address_from_a_zone_that_is_not_responsible_for_it_is_not_believed(world: World) -> None:
    with pytest.raises(DnsTemporary, match=r"no server of evil\.test"):
        await world.resolver().addresses("x.evil.test")
    assert "x.evil.test" in world.test.asked
    assert world.test.asked.count("x.evil.test") <= 2
