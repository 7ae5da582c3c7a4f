"""The table of SMTP routes: what matches, and what may be written."""

import pytest

from mail.delivery.route import BY_DNS, Route, RouteHost, Routing, SmtpRoutes, Way, parse_hosts


def table(*routes: tuple[str, str]) -> SmtpRoutes:
    return SmtpRoutes(Route(domain, tuple(hosts.split())) for domain, hosts in routes)


def first_host(routing: Routing) -> str:
    return routing.hosts[0].name


ROUTES = table(
    ("ALL", "all.test"),
    (".example.com", "sub.test"),
    ("example.com", "exact.test"),
    (".deep.example.com", "deep.test"),
    ("dns.example.com", "USEDNS"),
    ("drop.test", "/dev/null"),
    ("[192.0.2.9]", "literal.test"),
)


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("example.com", "exact.test"),
        ("EXAMPLE.com.", "exact.test"),
        ("a.example.com", "sub.test"),
        ("a.b.example.com", "sub.test"),
        ("deep.example.com", "sub.test"),
        ("x.deep.example.com", "deep.test"),
        ("notexample.com", "all.test"),
        ("com", "all.test"),
        ("[192.0.2.9]", "literal.test"),
        ("[192.0.2.8]", "all.test"),
    ],
)
def test_the_most_specific_entry_wins_whatever_its_place(domain: str, host: str) -> None:
    assert first_host(ROUTES.lookup(domain)) == host


def test_special_destinations() -> None:
    assert ROUTES.lookup("dns.example.com") == BY_DNS
    assert ROUTES.lookup("drop.test").way is Way.DROP
    assert SmtpRoutes().lookup("anything.test") == BY_DNS


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("mx.test", RouteHost("mx.test")),
        ("MX.test.:2525", RouteHost("mx.test", 2525)),
        ("[mx.test]", RouteHost("mx.test", addresses_only=True)),
        ("[mx.test]:26/pri=5", RouteHost("mx.test", 26, 5, addresses_only=True)),
        ("192.0.2.1", RouteHost("192.0.2.1", literal=True)),
        ("127.0.9.1:2525", RouteHost("127.0.9.1", 2525, literal=True)),
        ("[192.0.2.1]:26", RouteHost("192.0.2.1", 26, literal=True)),
        ("2001:db8::1", RouteHost("2001:db8::1", literal=True)),
        ("2001:db8::1/pri=65535", RouteHost("2001:db8::1", None, 65535, literal=True)),
        ("[2001:db8::1]:26", RouteHost("2001:db8::1", 26, literal=True)),
        ("[IPv6:2001:db8::1]", RouteHost("2001:db8::1", literal=True)),
        ("mx_1.test/PRI=0", RouteHost("mx_1.test")),
    ],
)
def test_how_a_host_is_written(text: str, host: RouteHost) -> None:
    assert parse_hosts(Route("x.test", (text,))).hosts == (host,)


def test_hosts_come_by_priority_and_then_as_written() -> None:
    routing = parse_hosts(Route("x.test", ("c.test/pri=9", "a.test", "b.test/pri=0", "d.test/pri=1")))
    assert [host.name for host in routing.hosts] == ["a.test", "b.test", "d.test", "c.test"]


@pytest.mark.parametrize(
    "hosts",
    [
        "",
        "mx.test:0",
        "mx.test:65536",
        "mx.test:",
        "mx.test/9",
        "mx.test/pri=65536",
        "mx.test/pri=x",
        "a b!",
        "-",
        "USEDNS mx.test",
        "/dev/null mx.test",
        "/dev/zero",
        "a..test",
        "x" * 254,
    ],
)
def test_what_cannot_be_read_is_told_with_its_route(hosts: str) -> None:
    with pytest.raises(ValueError, match=r"^route 'x\.test': "):
        table(("x.test", hosts))


def test_a_domain_stands_once() -> None:
    with pytest.raises(ValueError, match="given twice"):
        table(("x.test", "a.test"), ("X.test", "b.test"))
    with pytest.raises(ValueError, match="empty domain"):
        table(("", "a.test"))


def test_the_table_is_bounded() -> None:
    with pytest.raises(ValueError, match="at most 40000"):
        SmtpRoutes(Route(f"{number}.test", ("a.test",)) for number in range(40_001))


def test_the_longest_of_forty_thousand_rows_is_found_by_its_labels() -> None:
    routes = SmtpRoutes(
        [Route(f".d{number}.test", (f"h{number}.test",)) for number in range(39_998)]
        + [Route("ALL", ("all.test",)), Route("x.d7.test", ("exact.test",))]
    )
    assert first_host(routes.lookup("a.b.c.D39997.test")) == "h39997.test"
    assert first_host(routes.lookup("x.d7.test")) == "exact.test"
    assert first_host(routes.lookup("y.d7.test")) == "h7.test"
    assert first_host(routes.lookup("d7.test")) == "all.test"


@pytest.mark.parametrize("written", ["Bücher.test", "xn--bcher-kva.test", "BÜCHER.TEST."])
def test_a_domain_is_found_however_it_is_written(written: str) -> None:
    assert first_host(table(("bücher.test", "mx.test")).lookup(written)) == "mx.test"
