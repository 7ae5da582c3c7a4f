import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.rewrite.header import addresses_of, exchange


@pytest.mark.parametrize(
    ("raw", "addresses"),
    [
        (b" joe@a.example\r\n", ["joe@a.example"]),
        (b" <joe@a.example>", ["joe@a.example"]),
        (b' "Doe, Joe" <joe@a.example>, ann@b.example', ["joe@a.example", "ann@b.example"]),
        (b' "joe@not.example" <joe@a.example>', ["joe@a.example"]),
        (b" joe@not.example <joe@a.example>", ["joe@a.example"]),
        (b" joe@a.example (was joe@old.example (really))", ["joe@a.example"]),
        (b' (say "hi) joe@a.example', ["joe@a.example"]),
        (b' "joe smith"@a.example', ['"joe smith"@a.example']),
        (b" Team: joe@a.example, ann@b.example;", ["joe@a.example", "ann@b.example"]),
        (b" =?utf-8?q?joe=40x?= <joe@a.example>", ["joe@a.example"]),
        (b" joe@[192.0.2.1]", ["joe@[192.0.2.1]"]),
        (b" Joe\r\n\t<joe@a.example>,\r\n ann@b.example\r\n", ["joe@a.example", "ann@b.example"]),
        (b" undisclosed-recipients:;", []),
        (b" j\xc3\xb6rg@a.example", ["j\u00f6rg@a.example"]),
        (b" j\xf6rg@a.example", []),
        (b" (never closed joe@a.example", []),
        (b"", []),
    ],
)
def test_addresses_are_found_where_readers_see_them(raw: bytes, addresses: list[str]) -> None:
    assert addresses_of(raw) == addresses


def test_only_the_address_is_exchanged() -> None:
    raw = b' "joe@in.example" (joe@in.example)\r\n\t<joe@in.example> , Ann <ann@in.example>\r\n'
    assert exchange(raw, {"joe@in.example": "joe.doe@out.example"}) == (
        b' "joe@in.example" (joe@in.example)\r\n\t<joe.doe@out.example> , Ann <ann@in.example>\r\n'
    )


@given(st.binary(max_size=300))
def test_without_changes_every_octet_stays(raw: bytes) -> None:
    assert exchange(raw, {}) == raw
    assert exchange(raw, {address: address for address in addresses_of(raw)}) == raw


@pytest.mark.parametrize("piece", [b"a", b'"', b"(", b'\\"', b"<", b"a@", b"@", b"a@b,", b'""@', b"=?", b"()"])
def test_hostile_values_take_time_that_grows_with_their_length(piece: bytes) -> None:
    raw = piece * (128 * 1024 // len(piece))
    started = time.thread_time()
    addresses_of(raw)
    assert time.thread_time() - started < 5
