"""What leaves by DATA: dots doubled, line ends right, the same whatever the chunks."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.smtp.content import BareNewline, Encoder

PIECES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a", b"\0", b"\xff"]), max_size=30)


def encoded(chunks: list[bytes], *, convert: bool = True) -> bytes:
    encoder = Encoder(convert=convert)
    return b"".join([encoder.feed(chunk) for chunk in chunks]) + encoder.finish()


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"..\r\n.a\r\n", b"...\r\n..a\r\n.\r\n"),
        (b"a\r\n.", b"a\r\n..\r\n.\r\n"),
        (b"\r\n", b"\r\n.\r\n"),
        (b"a.\r\nb\r\n", b"a.\r\nb\r\n.\r\n"),
    ],
)
def test_dots_are_doubled_at_line_starts(content: bytes, sent: bytes) -> None:
    assert encoded([content], convert=False) == sent
    assert encoded([bytes([octet]) for octet in content], convert=False) == sent


@given(PIECES)
def test_the_peer_gets_the_content_back_whatever_the_chunks(chunks: list[bytes]) -> None:
    whole = encoded([b"".join(chunks)])
    assert encoded(chunks) == whole
    inner = whole.removesuffix(b".\r\n")
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", inner)
    assert b"\r\n.\r\n" not in b"\r\n" + inner
    received = re.sub(rb"(?m)^\.", b"", inner)
    normalised = re.sub(rb"\r\n|\r|\n", b"\r\n", b"".join(chunks))
    assert received == (normalised if not normalised or normalised.endswith(b"\r\n") else normalised + b"\r\n")


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\rb\r\n", b"a\r", b"\r\r\n", b"\n"])
def test_a_bare_line_end_is_refused_if_not_converted(content: bytes) -> None:
    with pytest.raises(BareNewline):
        encoded([content], convert=False)
    with pytest.raises(BareNewline):
        encoded([bytes([octet]) for octet in content], convert=False)
