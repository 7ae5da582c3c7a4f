"""Domains to targets, with the real resolver on a DNS server of the test."""

import dns.rcode
import pytest

from core.dns import Resolver
from core.smtp.target import Target
from mail.delivery.resolve import BadDestination, DestinationResolver, NoDestination, Resolution
from mail.delivery.route import Family, Route, SmtpRoutes
from tests.support.dns_server import DnsServer

ZONE = (
    "x.test. 300 IN MX 10 a.x.test.",
    "x.test. 300 IN MX 10 b.x.test.",
    "x.test. 300 IN MX 20 c.x.test.",
    "a.x.test. 60 IN A 192.0.2.1",
    "a.x.test. 60 IN AAAA 2001:db8::1",
    "b.x.test. 60 IN A 192.0.2.2",
    "c.x.test. 60 IN A 192.0.2.3",
    "plain.test. 60 IN A 192.0.2.9",
    "null.test. 60 IN MX 0 .",
    "null-twice.test. 60 IN MX 0 .",
    "null-twice.test. 60 IN MX 5 .",
    "lost.test. 60 IN MX 5 nowhere.test.",
    "half.test. 60 IN MX 5 nowhere.test.",
    "half.test. 60 IN MX 9 c.x.test.",
    "shaky.test. 60 IN MX 5 shaky-mx.test.",
    "number.test. 60 IN MX 5 192.0.2.77.",
    "empty.test. 60 IN TXT x",
    "farm.test. 60 IN A 192.0.2.31",
    "farm.test. 60 IN A 192.0.2.32",
    "farm.test. 60 IN AAAA 2001:db8::31",
)


async def resolve(
    domain: str,
    *routes: tuple[str, str],
    rules: dict[tuple[str, str], dns.rcode.Rcode | str] | None = None,
    family: Family = "prefer-v6",
    own_names: tuple[str, ...] = (),
    own_addresses: tuple[str, ...] = (),
    secure: bool = False,
) -> Resolution:
    async with DnsServer(*ZONE, rules=rules, secure=secure) as server:  # type: ignore[arg-type]
        resolver = DestinationResolver(
            Resolver([server.address], timeout_s=1),
            SmtpRoutes(Route(where, tuple(hosts.split())) for where, hosts in routes),
            own_names=own_names,
            own_addresses=own_addresses,
            family=lambda _domain: family,
            shuffle=lambda candidates: candidates.sort(key=str),
        )
        return await resolver.resolve(domain)


def addresses(resolution: Resolution, turn: int = 0) -> list[str]:
    return [target.address for target in resolution.targets(turn)]


async def test_exchangers_come_by_preference_and_equal_ones_take_turns() -> None:
    found = await resolve("x.test", secure=True)
    assert addresses(found) == ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert addresses(found, 1) == ["192.0.2.2", "2001:db8::1", "192.0.2.1", "192.0.2.3"]
    assert found.targets()[0] == Target("a.x.test", "2001:db8::1", 25, 10)
    assert (found.ttl_s, found.secure, found.routed) == (60, True, False)
    assert [one.host for one in found.mx] == ["a.x.test", "b.x.test", "c.x.test"]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("prefer-v4", ["192.0.2.1", "2001:db8::1", "192.0.2.2", "192.0.2.3"]),
        ("require-v4", ["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        ("require-v6", ["2001:db8::1"]),
    ],
)
async def test_the_family_can_be_chosen(family: Family, expected: list[str]) -> None:
    assert addresses(await resolve("x.test", family=family)) == expected


async def test_no_address_of_the_family_is_temporary() -> None:
    with pytest.raises(NoDestination):
        await resolve("plain.test", family="require-v6")


async def test_without_exchangers_the_domain_itself_is_called() -> None:
    assert (await resolve("plain.test")).targets() == [Target("plain.test", "192.0.2.9", 25, 0)]


@pytest.mark.parametrize(
    ("domain", "reply"),
    [
        (
            "nowhere.test",
            "550 5.1.2 Bad destination host: DNS Hard Error looking up nowhere.test (MX):  NXDomain",
        ),
        (
            "lost.test",
            "550 5.1.2 Bad destination host: DNS Hard Error looking up nowhere.test (A):  NXDomain",
        ),
        (
            "null.test",
            "556 5.1.10 Recipient address has null MX: null.test does not accept mail (null MX)",
        ),
        (
            "empty.test",
            "550 5.1.2 Bad destination host: DNS Hard Error looking up empty.test (A):  no address",
        ),
    ],
)
async def test_what_cannot_exist_is_permanent_and_says_why(domain: str, reply: str) -> None:
    with pytest.raises(BadDestination) as caught:
        await resolve(domain)
    assert str(caught.value.reply) == reply
    assert caught.value.reply.permanent


@pytest.mark.parametrize("domain", ["null.test", "null-twice.test"])
async def test_null_mx_is_answered_as_rfc_7505_says(domain: str) -> None:
    """Two null records, which no domain should have, were told as a loop."""
    with pytest.raises(BadDestination) as caught:
        await resolve(domain)
    assert (caught.value.reply.code, caught.value.reply.enhanced) == (556, "5.1.10")


async def test_an_exchanger_that_is_a_number_is_no_host() -> None:
    with pytest.raises(BadDestination, match="an address in place of a host name"):
        await resolve("number.test")


async def test_one_missing_exchanger_does_not_hide_the_others() -> None:
    assert addresses(await resolve("half.test")) == ["192.0.2.3"]


@pytest.mark.parametrize(("name", "kind"), [("x.test", "MX"), ("shaky-mx.test", "A")])
async def test_what_nobody_can_tell_is_temporary(name: str, kind: str) -> None:
    domain = "x.test" if kind == "MX" else "shaky.test"
    with pytest.raises(NoDestination) as caught:
        await resolve(domain, rules={(name, kind): dns.rcode.SERVFAIL})
    assert str(caught.value.reply) == (
        f"451 4.4.0 Other network problem: DNS Soft Error looking up {name} ({kind}):  ServFail"
    )
    assert caught.value.reply.temporary


async def test_a_temporary_reason_outweighs_a_permanent_one() -> None:
    rules: dict[tuple[str, str], dns.rcode.Rcode | str] = {
        ("c.x.test", kind): dns.rcode.SERVFAIL for kind in ("A", "AAAA")
    }
    with pytest.raises(NoDestination):
        await resolve("half.test", rules=rules)


async def test_only_exchangers_before_ourselves_are_called() -> None:
    assert addresses(await resolve("x.test", own_names=("C.x.test.",))) == ["2001:db8::1", "192.0.2.1", "192.0.2.2"]
    assert len(addresses(await resolve("x.test", own_addresses=("192.0.2.3",)))) == 3
    for own in ({"own_names": ("b.x.test",)}, {"own_addresses": ("192.0.2.1",)}):
        with pytest.raises(BadDestination) as caught:
            await resolve("x.test", **own)  # type: ignore[arg-type]
        assert caught.value.reply.enhanced == "5.4.6"


@pytest.mark.parametrize("domain", ["[192.0.2.5]", "[IPv6:2001:DB8::5]"])
async def test_mail_to_our_own_address_as_a_literal_was_sent_to_ourselves(domain: str) -> None:
    with pytest.raises(BadDestination) as caught:
        await resolve(domain, own_addresses=("192.0.2.5", "2001:db8::5"))
    assert caught.value.reply.enhanced == "5.4.6"


@pytest.mark.parametrize(("domain", "address"), [("[192.0.2.5]", "192.0.2.5"), ("[IPv6:2001:DB8::5]", "2001:db8::5")])
async def test_an_address_literal_is_called_as_it_is(domain: str, address: str) -> None:
    assert (await resolve(domain)).targets() == [Target(address, address, 25)]


@pytest.mark.parametrize("domain", ["[192.0.2.500]", "[2001:db8::5]", "[IPv6:192.0.2.5]", "[]"])
async def test_a_broken_literal_is_no_destination(domain: str) -> None:
    with pytest.raises(BadDestination):
        await resolve(domain)


async def test_a_route_decides_before_dns() -> None:
    found = await resolve("x.test", ("x.test", "plain.test:2525/pri=1 127.0.9.1:26 [b.x.test]"))
    assert [str(target) for target in found.targets()] == [
        "127.0.9.1 (127.0.9.1:26)",
        "b.x.test (192.0.2.2:25)",
        "plain.test (192.0.2.9:2525)",
    ]
    assert addresses(found, 1) == ["192.0.2.2", "127.0.9.1", "192.0.2.9"]
    assert found.routed


async def test_the_host_of_a_route_has_exchangers_too_but_no_routes() -> None:
    found = await resolve("y.test", ("y.test", "x.test"), ("x.test", "/dev/null"))
    assert addresses(found) == ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]


async def test_brackets_leave_the_exchangers_out() -> None:
    with pytest.raises(NoDestination):
        await resolve("y.test", ("y.test", "[x.test]"))


async def test_a_route_that_fails_never_falls_back_and_is_temporary() -> None:
    with pytest.raises(NoDestination):
        await resolve("x.test", ("x.test", "nowhere.test"))
    found = await resolve("x.test", ("x.test", "nowhere.test c.x.test"))
    assert addresses(found) == ["192.0.2.3"]


async def test_dev_null_drops_and_usedns_asks() -> None:
    assert (await resolve("x.test", ("ALL", "/dev/null"))).drop
    found = await resolve("plain.test", ("ALL", "/dev/null"), ("plain.test", "USEDNS"))
    assert addresses(found) == ["192.0.2.9"]


async def test_the_exchangers_of_the_only_host_of_a_priority_take_turns() -> None:
    """A smart host with equal exchangers had all its connections on one of them."""
    found = await resolve("y.test", ("ALL", "x.test farm.test/pri=7"))
    assert addresses(found)[:3] == ["2001:db8::1", "192.0.2.1", "192.0.2.2"]
    assert addresses(found, 1)[:3] == ["192.0.2.2", "2001:db8::1", "192.0.2.1"]
    assert addresses(found, 1)[3] == "192.0.2.3"


async def test_the_addresses_of_one_host_take_turns_within_their_family() -> None:
    found = await resolve("y.test", ("ALL", "[farm.test]:2525"))
    four = [[one for one in addresses(found, turn) if ":" not in one] for turn in (0, 1)]
    assert four[0] == list(reversed(four[1]))
    assert [addresses(found, turn)[0] for turn in (0, 1)] == ["2001:db8::31", "2001:db8::31"]
    assert {target.port for target in found.targets()} == {2525}


async def test_hosts_of_one_priority_take_turns_and_keep_their_exchangers() -> None:
    found = await resolve("y.test", ("ALL", "x.test [plain.test]"))
    assert addresses(found) == ["2001:db8::1", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.9"]
    assert addresses(found, 1)[0] == "192.0.2.9"


async def test_hosts_of_different_priority_never_count_as_equals() -> None:
    """The exchanger of the first had preference 10, as the second host had priority 10: they raced each other."""
    found = await resolve("y.test", ("ALL", "x.test/pri=0 192.0.2.99/pri=10"))
    assert [target.preference for target in found.targets()] == [0, 0, 0, 1, 2]


async def test_mail_sent_another_way_by_an_operator_goes_to_the_addresses_of_that_host() -> None:
    found = await resolve("[farm.test]:2525", ("ALL", "127.0.0.9:25"), family="require-v4")
    assert {(one.address, one.port) for one in found.targets()} == {("192.0.2.31", 2525), ("192.0.2.32", 2525)}
    literal = await resolve("[192.0.2.9]:26", ("ALL", "127.0.0.9:25"))
    assert [(one.address, one.port) for one in literal.targets()] == [("192.0.2.9", 26)]
