"""Paths: what is accepted, what is refused and with which kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import NULL_PATH, AddressError, Path, is_literal, parse_path, split_path, to_ascii


@pytest.mark.parametrize(
    ("wire", "path"),
    [
        (b"<>", NULL_PATH),
        (b"<joe@example.test>", Path("joe", "example.test", "joe@example.test")),
        (b"<Joe.Q+x@Example.TEST>", Path("Joe.Q+x", "example.test", "Joe.Q+x@Example.TEST")),
        (b"<@a.test,@b.test:u@d.test>", Path("u", "d.test", "u@d.test")),
        (b'<"a b@c"@d.test>', Path('"a b@c"', "d.test", '"a b@c"@d.test')),
        (b'<"a\\"b>"@d.test>', Path('"a\\"b>"', "d.test", '"a\\"b>"@d.test')),
        (b"<u@[127.0.0.1]>", Path("u", "[127.0.0.1]", "u@[127.0.0.1]")),
        (b"<u@[IPv6:::1]>", Path("u", "[ipv6:::1]", "u@[IPv6:::1]")),
        (b"<Postmaster>", Path("Postmaster", "", "Postmaster")),
        (b"<u@my_host.example.test>", Path("u", "my_host.example.test", "u@my_host.example.test")),
        (b"<.a..b.@example.test>", Path(".a..b.", "example.test", ".a..b.@example.test")),
        (b"<" + b"l" * 64 + b"@d.test>", Path("l" * 64, "d.test", "l" * 64 + "@d.test")),
    ],
)
def test_accepts(wire, path):
    assert parse_path(wire) == path


@pytest.mark.parametrize(
    ("wire", "kind"),
    [
        (b"joe@example.test", "syntax"),
        (b"<joe>", "syntax"),
        (b"<@example.test>", "syntax"),
        (b"<joe@>", "syntax"),
        (b"<joe@example.test.>", "syntax"),
        (b"<joe@-example.test>", "syntax"),
        (b"<jo e@example.test>", "syntax"),
        (b"<joe@exa mple.test>", "syntax"),
        (b"<joe@@example.test>", "syntax"),
        (b"<joe@example.test\r>", "syntax"),
        (b"<jo\0e@example.test>", "syntax"),
        (b'<"jo\ne"@example.test>', "syntax"),
        (b"<joe@[127.0.0.256]>", "syntax"),
        (b"<joe@[IPv6:::1%lo]>", "syntax"),
        (b"<joe\xff@example.test>", "syntax"),
        ("<j\u00f6@example.test>".encode(), "utf8"),
        (b"<" + b"l" * 65 + b"@d.test>", "length"),
        (b"<l@" + b"d" * 63 + b".d" * 100 + b">", "length"),
        (b"<l@" + b"d." * 126 + b"test>", "length"),
    ],
)
def test_refuses(wire, kind):
    with pytest.raises(AddressError) as caught:
        parse_path(wire)
    assert caught.value.kind == kind


def test_utf8_is_accepted_with_the_extension():
    path = parse_path("<j\u00f6@b\u00fccher.test>".encode(), smtputf8=True)
    assert path == Path("j\u00f6", "xn--bcher-kva.test", "j\u00f6@b\u00fccher.test")


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("Example.TEST", "example.test"),
        ("B\u00dcCHER.test", "xn--bcher-kva.test"),
        ("bu\u0308cher.test", "xn--bcher-kva.test"),
        ("\u4f8b\u5b50.\u6d4b\u8bd5", "xn--fsqu00a.xn--0zwm56d"),
        ("fa\u00df.test", "xn--fa-hia.test"),
        ("\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.test", "xn--mgba3gch31f060k.test"),
        ("a.b\u00fc", "a.xn--b-eha"),
    ],
)
def test_a_domain_is_known_by_its_a_labels(domain, name):
    assert to_ascii(domain) == name


@pytest.mark.parametrize(
    "domain",
    [
        "b\u00fc..test",
        ".b\u00fc",
        "-b\u00fc.test",
        "b\u00fc-.test",
        "ab--\u00fc.test",
        "b\u200bc.test",
        "b\u3002test",
        "\u0308b.test",
        "\u2665.test",
        "b\u00fc\u2024test",
        "\u00fc" * 60 + ".test",
        "b\u00fc.a b",
        "b\u00fc./",
    ],
)
def test_a_domain_that_no_zone_holds_is_refused(domain):
    with pytest.raises(ValueError, match="domain"):
        to_ascii(domain)
    with pytest.raises(AddressError):
        parse_path(f"<a@{domain}>".encode(), smtputf8=True)


def test_a_partial_address_needs_permission():
    assert parse_path(b"<joe>", partial=True) == Path("joe", "", "joe")


def test_a_quoted_name_is_the_same_mailbox():
    assert parse_path(b'<"jo\\e"@d.test>').mailbox == "joe"
    assert parse_path(b"<joe@d.test>").mailbox == "joe"


def test_the_end_of_a_path_is_not_the_first_bracket():
    assert split_path(b'<"a> b"@d.test> SIZE=1') == (b'<"a> b"@d.test>', b" SIZE=1")
    assert split_path(b"joe@d.test") is None
    assert split_path(b"<joe@d.test") is None


def test_literals():
    assert is_literal(b"[IPv6:2001:db8::1]")
    assert not is_literal(b"[::1]")


@given(st.binary(max_size=80))
def test_any_octets_give_a_path_or_an_address_error(octets):
    try:
        path = parse_path(b"<" + octets + b">", smtputf8=True, partial=True)
    except AddressError:
        return
    assert not set(path.text) & set("\r\n\0")
