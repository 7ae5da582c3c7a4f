import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.hat import Group, HostAccessTable, Policy, Rule, parse_entries, parse_entry


def matches(entry: str, ip: str, host: str = "") -> bool:
    table = HostAccessTable(
        [Group("G", Rule.ACCEPT, parse_entries([entry]), Policy())], Rule.REJECT, Policy(name="default")
    )
    return table.lookup(ip, host).group == "G"


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.1.2.", "10.1.2.255", "10.1.3.0"),
        ("10.1", "10.1.200.9", "10.2.0.0"),
        ("10.", "10.255.0.1", "11.0.0.0"),
        ("10.1.2.3-9", "10.1.2.9", "10.1.2.10"),
        ("10.1.2-5", "10.1.5.255", "10.1.6.0"),
        ("10-11.", "11.255.255.255", "12.0.0.0"),
        ("10.1/17", "10.1.127.255", "10.1.128.0"),
        ("10.1.2.3/32", "10.1.2.3", "10.1.2.2"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ("2001:db8::1-2001:db8::5", "2001:db8::5", "2001:db8::6"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("10.0.0.1", "::ffff:10.0.0.1", "::ffff:10.0.0.2"),
    ],
)
def test_address_forms(entry: str, inside: str, outside: str) -> None:
    assert matches(entry, inside)
    assert not matches(entry, outside)


def test_names_match_only_when_verified() -> None:
    assert matches("mx.partner.example", "192.0.2.1", "MX.partner.example")
    assert not matches("mx.partner.example", "192.0.2.1", "")
    assert matches(".partner.example", "192.0.2.1", "a.b.partner.example")
    assert not matches(".partner.example", "192.0.2.1", "partner.example")
    assert not matches(".partner.example", "192.0.2.1", "evilpartner.example")


def test_first_match_decides_and_continue_goes_on() -> None:
    table = HostAccessTable(
        [
            Group("WATCHED", Rule.CONTINUE, parse_entries(["10.0.0.0/8"]), Policy()),
            Group("BAD", Rule.REJECT, parse_entries(["10.6.6.6"]), Policy(name="bad")),
            Group("GOOD", Rule.RELAY, parse_entries(["10."]), Policy(name="good")),
        ],
        Rule.ACCEPT,
        Policy(name="default"),
    )
    bad = table.lookup("10.6.6.6")
    assert (bad.rule, bad.group, bad.entry) == (Rule.REJECT, "BAD", "10.6.6.6")
    assert table.lookup("10.1.1.1").group == "GOOD"
    other = table.lookup("192.0.2.1")
    assert (other.rule, other.group, other.entry, other.policy.name) == (Rule.ACCEPT, "None", "ALL", "default")


@given(st.text(max_size=40))
def test_any_text_is_an_entry_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_entry(text)
