"""`protocol.mtasts`: which records and policies count (RFC 8461)."""

import pytest

from protocol.mtasts import MAX_AGE_S, Policy, parse_policy, policy_id

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mx1.example.test\r\nmx: *.example.net\r\nmax_age: 86400\r\n"


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=spf1 -all", "v=STSv1; id=a ; x=y"], "a"),
        (["v=STSv1; id=1", "v=STSv1; id=2"], None),
        (["v=STSv1;"], None),
        (["v=STSv1; id="], None),
        (["v=STSv1; id=has-dash"], None),
        (["v=STSv1; id=" + "a" * 33], None),
        (["v=STSv10; id=1"], None),
        (["V=STSv1; id=1"], None),
        ([" v=STSv1; id=1"], None),
        ([], None),
    ],
)
def test_the_id_comes_from_the_only_good_record(texts: list[str], found: str | None) -> None:
    assert policy_id(texts) == found


def test_a_policy_is_read() -> None:
    policy = parse_policy(GOOD + b"new_key: whatever\r\n")
    assert (policy.mode, policy.max_age_s, policy.mx) == ("enforce", 86400, ("mx1.example.test", "*.example.net"))
    assert parse_policy(GOOD.replace(b"\r\n", b"\n")).mx == policy.mx
    assert parse_policy(GOOD.replace(b"86400", b"9999999999")).max_age_s == MAX_AGE_S
    assert parse_policy(GOOD + b"mode: none\r\n").mode == "enforce"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        GOOD.replace(b"STSv1", b"STSv2"),
        GOOD.replace(b"enforce", b"maybe"),
        GOOD.replace(b"mode: enforce\r\n", b""),
        GOOD.replace(b"86400", b"-1"),
        GOOD.replace(b"max_age: 86400\r\n", b""),
        GOOD.replace(b"mx1.example.test", b"192.0.2.1 x"),
        GOOD.replace(b"*.example.net", b"mx*.example.net"),
        b"version: STSv1\r\nmode: enforce\r\nmax_age: 1\r\n",
        GOOD + b"<html>\r\n",
        GOOD + b"x: " + b"a" * 70_000,
        GOOD.replace(b"example", b"ex\xffmple"),
    ],
)
def test_a_bad_policy_is_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_policy(document)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("MX1.example.test.", True),
        ("mx2.example.test", False),
        ("a.example.net", True),
        ("a.b.example.net", False),
        ("example.net", False),
        ("xexample.net", False),
    ],
)
def test_a_wildcard_stands_for_one_label(host: str, allowed: bool) -> None:
    assert Policy("enforce", 1, ("mx1.example.test", "*.example.net")).allows(host) is allowed
