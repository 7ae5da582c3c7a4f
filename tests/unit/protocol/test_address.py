"""Paths: what is accepted, what is refused and with which kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.address import NULL_PATH, AddressError, Path, is_literal, parse_path, split_path


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
    assert path == Path("j\u00f6", "b\u00fccher.test", "j\u00f6@b\u00fccher.test")


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
