"""Name servers as an operator sets them, and the caches of the daemons."""

from pathlib import Path

import pytest

from tests.support.appliance import Daemons, document
from tests.support.editing import TEXT
from tests.support.golden import same_as_golden
from tests.support.operating import Operating

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def machine(tmp_path: Path) -> Operating:
    return Operating(tmp_path)


async def test_the_dialogue_adds_servers_and_domains_and_sets_times(tmp_path: Path) -> None:
    machine = Operating(tmp_path, TEXT + '[dns]\nservers = ["10.0.0.53/pri=9"]\n')
    answers = ["new", "1", "10.1.1.1, 10.1.1.2:5353", "5", "new", "2", "example.internal", "10.9.9.9"]
    answers += ["edit", "1", "0", "delete", "2", "setup", "", "0", "2", ""]
    shown = await machine.talked("dnsconfig", *answers)
    same_as_golden(GOLDEN / "dnsconfig-dialogue.txt", shown)
    assert machine.tables()["dns"] == {
        "servers": ["10.0.0.53/pri=9", "10.1.1.1"],
        "private": [{"domain": "example.internal", "servers": ["10.9.9.9"]}],
        "reverse_timeout_s": 0.0,
        "validating": False,
    }


async def test_the_root_servers_take_the_place_of_own_ones_and_own_ones_that_of_the_root_servers(
    machine: Operating,
) -> None:
    await machine.ran("dnsconfig new 10.1.1.1 --priority 3")
    assert machine.tables()["dns"] == {"servers": ["10.1.1.1/pri=3"]}
    await machine.ran("dnsconfig setup --root yes")
    assert machine.tables()["dns"] == {"root": True}
    assert (await machine.ran("dnsconfig list")).output.startswith("Currently using the Internet root DNS servers.")
    await machine.ran("dnsconfig new 10.1.1.1")
    assert machine.tables()["dns"] == {"servers": ["10.1.1.1"]}


async def test_a_name_server_with_an_ipv6_address_comes_and_goes(machine: Operating) -> None:
    """Its default port was taken off in a way that nothing could read again: an incident each time."""
    before = machine.tables().get("dns")
    for given in ("fd00::1", "[fd00::1]", "[fd00::1]:5353"):
        assert (await machine.ran(f"dnsconfig new {given}")).status == 0
        assert (await machine.ran(f"dnsconfig edit {given} --priority 2")).status == 0
        assert (await machine.ran(f"dnsconfig delete {given}")).status == 0
    assert machine.tables().get("dns") == before


@pytest.mark.parametrize(
    ("line", "status", "reason"),
    [
        ("dnsconfig new ns.example.test", 65, "is no name server"),
        ("dnsconfig new 10.1.1.1 --domain two..dots", 65, "a domain name is needed"),
        ("dnsconfig delete 10.7.7.7", 66, "is not among the name servers"),
        ("dnsconfig setup --reverse-timeout-s 99", 64, "from 0 to 60"),
        ("dnsconfig setup --root yes --validating yes", 65, "root servers do not"),
        ("dnsflush", 64, "say --yes"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(
    machine: Operating, line: str, status: int, reason: str
) -> None:
    result = await machine.ran(line)
    assert (result.status, reason in result.error) == (status, True), result
    assert not machine.appliance.editing("local").pending


async def test_dnsflush_has_every_daemon_forget_and_names_who_does_not_run(machine: Operating) -> None:
    daemons = Daemons(machine.appliance.run)
    verb = {"dns_flush": {"flushed": 12}}
    async with daemons.up(**{"gateway-0": verb, "gateway-1": verb}, delivery_queue=verb, tunnel_client=verb):
        found = document(await machine.ran("dnsflush --yes --json"))["daemons"]
        shown = await machine.talked("dnsflush", "y")
    assert {row["daemon"] for row in found if row["flushed"] == 12} == {
        *("gateway-0", "gateway-1", "delivery-queue", "tunnel-client")
    }
    assert "Are you sure you want to clear out the DNS cache? [N]> y" in shown
    assert "delivery-queue: 12 answers forgotten" in shown


@pytest.mark.parametrize(
    "text",
    ["ALL: 10.0.0.1, 10.0.0.2:5353/pri=1\nexample.internal: 10.9.9.9\n", "ALL: ROOT\n10.in-addr.arpa: 10.9.9.9\n", ""],
    ids=["own", "root", "none"],
)
async def test_servers_survive_a_file(machine: Operating, text: str) -> None:
    assert (await machine.ran("dnsconfig import -", stdin=b"# a comment\n" + text.encode())).status == 0
    first = machine.tables().get("dns")
    written = (await machine.ran("dnsconfig export -")).output
    await machine.ran("dnsconfig import -", stdin=b"ALL: 10.3.3.3\n")
    assert (await machine.ran("dnsconfig import -", stdin=written.encode() + b"\n")).status == 0
    assert machine.tables().get("dns") == first
    refused = await machine.ran("dnsconfig import -", stdin=b"ALL: 10.0.0.1\nx.test: ns.x.test\n")
    assert (refused.status, machine.tables().get("dns")) == (65, first)
