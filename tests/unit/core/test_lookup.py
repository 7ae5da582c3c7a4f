"""Single questions: all that a server says comes back, and a server that says nothing is passed over."""

import pytest

from core.errors import GatepostError
from core.lookup import ask, question_of
from core.name_server import name_server, name_servers
from tests.support.dns_server import DnsServer

ZONE = (
    "example.test. 172800 IN MX 10 mx.example.test.",
    "mx.example.test. 3600 IN A 192.0.2.7",
    'example.test. 60 IN TXT "v=spf1 -all" "second"',
    "example.test. 60 IN SOA ns.example.test. root.example.test. 7 3600 600 86400 60",
    "7.2.0.192.in-addr.arpa. 60 IN PTR mx.example.test.",
)


async def test_answers_come_with_their_ttl_and_type() -> None:
    async with DnsServer(*ZONE) as dns:
        reply = await ask([name_server(dns.address)], "example.test", "mx")
    assert (reply.code, reply.server) == ("NOERROR", dns.address)
    assert [(row.name, row.ttl_s, row.kind, row.text) for row in reply.sections["answer"]] == [
        ("example.test", 172800, "MX", "10 mx.example.test.")
    ]
    assert reply.octets > 30
    assert "qr" in reply.flags


async def test_an_address_stands_for_its_name_in_a_question_for_ptr() -> None:
    async with DnsServer(*ZONE) as dns:
        reply = await ask([name_server(dns.address)], "192.0.2.7", "PTR")
    assert [row.text for row in reply.sections["answer"]] == ["mx.example.test."]


async def test_an_error_of_the_server_is_an_answer() -> None:
    async with DnsServer(*ZONE) as dns:
        assert (await ask([name_server(dns.address)], "nobody.test", "A")).code == "NXDOMAIN"


async def test_the_next_server_is_asked_when_one_is_silent() -> None:
    async with DnsServer(*ZONE) as dns, DnsServer(rules={("example.test", "TXT"): "silent"}) as silent:
        servers = name_servers([silent.address, dns.address])
        reply = await ask(servers, "example.test", "TXT", timeout_s=0.2)
    assert reply.server == dns.address
    assert reply.sections["answer"][0].text == '"v=spf1 -all" "second"'


async def test_that_nobody_answers_is_said_with_the_server() -> None:
    async with DnsServer(rules={("example.test", "A"): "silent"}) as silent:
        with pytest.raises(GatepostError, match=f"{silent.address} did not answer within") as raised:
            await ask([name_server(silent.address)], "example.test", "A", timeout_s=0.1)
    assert raised.value.status == 75


@pytest.mark.parametrize(
    ("name", "kind"), [("a..b", "A"), ("x" * 64 + ".test", "A"), ("a.test", "BOGUS"), ("a", "OPT")]
)
def test_what_is_no_question_is_refused(name: str, kind: str) -> None:
    with pytest.raises(GatepostError) as raised:
        question_of(name, kind)
    assert raised.value.status == 65
