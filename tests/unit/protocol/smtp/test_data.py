"""`protocol.smtp.data`: content by DATA, however its octets are split, against the plainest way to say the same."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.reply import Reply
from protocol.smtp.data import DottedContent, Intake

PIECES = st.lists(st.sampled_from([b".", b"..", b"\r\n", b"\r\n.\r\n", b"a", b"long" * 9]), max_size=12)


class Kept:
    """Keeps what comes."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, chunk: bytes) -> None:
        self.data += chunk

    def discard(self) -> None:
        raise AssertionError("nothing is wrong with it")


def plainly(data: bytes) -> tuple[bytes, bytes] | None:
    """Give content and what follows it (RFC 5321 4.5.2), None while the end has not come."""
    window = b"\r\n" + data
    end = window.find(b"\r\n.\r\n")
    return None if end < 0 else (window[: end + 2].replace(b"\r\n.", b"\r\n")[2:], window[end + 5 :])


def never(error: Exception) -> Reply:
    raise AssertionError from error


@given(PIECES, st.lists(st.integers(1, 40), min_size=1))
def test_the_end_and_doubled_dots_are_found_however_octets_are_split(pieces: list[bytes], sizes: list[int]) -> None:
    data, kept = b"".join(pieces), Kept()
    content = DottedContent(Intake(kept, 0, 0, never))
    rest, at, turn = None, 0, 0
    while rest is None and at < len(data):
        size = sizes[turn % len(sizes)]
        rest = content.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    assert (None if rest is None else (kept.data, rest + data[at:])) == plainly(data)
