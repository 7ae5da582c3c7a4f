import pytest

from cpq.view import headers


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", []),
        (b"\r\nbody: no header", []),
        (b"A: 1\r\nB:2\r\n\r\nC: 3\r\n", [("A", "1"), ("B", "2")]),
        (b"A: 1\r\n\tfolded\r\n  twice\r\nB: x", [("A", "1 folded twice"), ("B", "x")]),
        (b" starts folded\r\nA: 1", []),
        (b"A: 1\r\nno colon here\r\nB: 2", [("A", "1")]),
        (b"S: =?utf-8?q?Gr=C3=BC=C3=9Fe?=", [("S", "Grüße")]),
        (b"S: =?utf-8?b?!!!?= =?nonsense?q?x?=", [("S", "=?utf-8?b?!!!?= =?nonsense?q?x?=")]),
        (b"S: \xff\xfe", [("S", "\ufffd\ufffd")]),
    ],
)
def test_headers(content: bytes, found: list[tuple[str, str]]) -> None:
    assert [(one["name"], one["value"]) for one in headers(content)] == found
