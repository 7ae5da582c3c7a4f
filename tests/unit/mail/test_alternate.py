"""The alternate source table: which row decides, and what may be written."""

import pytest

from mail.alternate import AlternateSource, AlternateSources, parse_match

ROWS = (
    ("@example.com", "domain"),
    ("joe@", "user"),
    ("joe@example.com", "address"),
    ("10.1.0.0/16", "block"),
    ("10.1.2.3", "host"),
    ("2001:db8::/32", "six"),
    ("@Bücher.example", "idn"),
)
TABLE = AlternateSources(AlternateSource(*row) for row in ROWS)


@pytest.mark.parametrize(
    ("remote_ip", "sender", "gateway"),
    [
        ("10.1.9.9", "joe@example.com", "block"),
        ("192.0.2.1", "joe@example.com", "address"),
        ("192.0.2.1", "JOE@Example.COM", "address"),
        ("192.0.2.1", "Joe@elsewhere.test", "user"),
        ("192.0.2.1", "ann@example.com", "domain"),
        ("192.0.2.1", "ann@sub.example.com", ""),
        ("192.0.2.1", "ann@xn--bcher-kva.example", "idn"),
        ("2001:db8::9", "ann@example.com", "six"),
        ("::ffff:10.1.9.9", "", "block"),
        ("192.0.2.1", "", ""),
        ("", "joe@example.com", "address"),
    ],
)
def test_the_host_decides_before_the_address_the_user_and_the_domain(remote_ip: str, sender: str, gateway: str) -> None:
    assert TABLE.choose(remote_ip, sender).gateway == gateway


def test_within_a_kind_the_first_row_decides() -> None:
    table = AlternateSources(AlternateSource(*row) for row in [("10.1.0.0/16", "first"), ("10.1.2.3", "second")])
    assert table.choose("10.1.2.3", "") == ("first", "10.1.0.0/16")
    twice = AlternateSources(AlternateSource(*row) for row in [("@a.test", "first"), ("@A.test.", "second")])
    assert twice.choose("", "x@a.test").gateway == "first"


def test_names_become_those_that_mail_is_queued_under() -> None:
    rows = [AlternateSource("@a.test", "OUT1"), AlternateSource("@b.test", "main"), AlternateSource("@c.test", "gone")]
    table = AlternateSources(rows, {"out1": "Out1", "main": ""})
    assert [table.choose("", f"x@{one}.test").gateway for one in "abc"] == ["Out1", "", "gone"]
    assert table.choose("", "x@b.test").match == "@b.test"


def test_an_empty_table_is_false() -> None:
    assert not AlternateSources()
    assert TABLE


@pytest.mark.parametrize("text", ["", "x", "10.1.2.300", "a@b@", "@", "@a..b", "10.0.0.0/33", "joe@-x.test"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_match(text)
