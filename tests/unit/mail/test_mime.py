import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.mime import Headers, cut_fields, decode_words, read_parts


def nested(depth: int) -> bytes:
    body = "Content-Type: text/plain\r\n\r\nfindme\r\n"
    for level in range(depth):
        body = f'Content-Type: multipart/mixed; boundary="b{level}"\r\n\r\n--b{level}\r\n{body}--b{level}--\r\n'
    return body.encode()


BOMBS = {
    "one header of a mebibyte": b"X: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "a hundred thousand headers": b"X: a\r\n" * 100_000 + b"\r\n",
    "forty thousand headers": b"X: a\r\n" * 40_000 + b"\r\n",
    "two mebibytes of parentheses": b"To: " + b"(" * (2 << 20) + b"\r\n\r\n",
    "ten thousand nested multiparts": nested(1) * 10_000,
    "a million parts": b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\n" * 1_000_000,
    "an onion of messages": b"Content-Type: message/rfc822\r\n\r\n" * 50_000,
    "a thousand nested multiparts": nested(999),
    "a base64 bomb": b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n" + b"QUFB" * 2_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_cost_bounded_time(bomb: str) -> None:
    started = time.process_time()
    Headers(BOMBS[bomb])
    read_parts(BOMBS[bomb])
    assert time.process_time() - started < 1


@pytest.mark.parametrize("bomb", [name for name in BOMBS if "part" in name or "onion" in name])
def test_part_bombs_are_unscannable(bomb: str) -> None:
    assert read_parts(BOMBS[bomb]).fault


@pytest.mark.parametrize("bomb", [name for name in BOMBS if "header" in name or "paren" in name])
def test_header_bombs_are_faults(bomb: str) -> None:
    assert Headers(BOMBS[bomb]).fault


def test_a_million_encoded_words_cost_bounded_time() -> None:
    started = time.process_time()
    decode_words(b"=?utf-8?q?" + b"a" * 60 + b"?= " * 1_000_000)
    decode_words(b"=?a?q?" * 1_000_000)
    assert time.process_time() - started < 1


def test_headers_are_indexed_and_unfolded() -> None:
    headers = Headers(b"From: a\r\nX-A : one\r\n\ttwo\r\nx-a: three\r\n\r\nX-A: body\r\n")
    assert headers.values(b"x-a") == [b"one\ttwo", b"three"]
    assert headers.first(b"from") == b"a"
    assert headers.first(b"none") == b""
    assert headers.count(b"x-a") == 2


@pytest.mark.parametrize(
    ("data", "fields"),
    [(b"", 0), (b"\r\nA: b\r\n", 0), (b"A: b", 1), (b"A: b\nC: d\n\nE: f\n", 2), (b"no colon\r\n", 0)],
)
def test_odd_header_sections(data: bytes, fields: int) -> None:
    assert len(Headers(data).fields) == fields


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "café"),
        (b"=?utf-8?B?w6TDtg==?= =?utf-8?q?=C3=A4_x?= end", "äöä x end"),
        (b"a =?iso-8859-1?q?=E9?= b", "a é b"),
        (b"=?utf-8?b?w6Q?= =?utf-8?b?w6Q=?=", "ää"),
        (b"=?utf-8?q?=C3?= =?utf-8?q?=A9?=", "é"),
        (b"=?nonsense?q?x=41?=", "xA"),
        (b"=?punycode?q?abc-?=", "abc-"),
        (b"=?utf-8?b?w?=", "w"),
        (b"=?broken?q?x", "=?broken?q?x"),
    ],
)
def test_encoded_words(raw: bytes, text: str) -> None:
    assert decode_words(raw) == text


@given(st.binary(max_size=300))
def test_nothing_that_a_stranger_sends_raises(data: bytes) -> None:
    Headers(data)
    decode_words(data)
    read_parts(data)


@given(st.binary(max_size=300))
def test_cutting_no_field_changes_nothing(data: bytes) -> None:
    assert cut_fields(data, {b"x-none"}) == data


def test_cut_fields_takes_folded_lines_along() -> None:
    assert cut_fields(b"A: 1\r\nX-B: 2\r\n\t3\r\nC: 4\r\nx-b: 5\r\n", {b"x-b"}) == b"A: 1\r\nC: 4\r\n"


@pytest.mark.parametrize("depth", [0, 1, 10, 45])
def test_parts_are_read_at_any_allowed_depth(depth: int) -> None:
    parts = read_parts(nested(depth))
    assert parts.fault == ""
    assert b"findme" in parts.leaves[0].data


def test_a_multipart_that_is_never_closed_does_not_hide_its_parts() -> None:
    parts = read_parts(b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n\r\nfindme\r\n')
    assert any(b"findme" in leaf.data for leaf in parts.leaves)
