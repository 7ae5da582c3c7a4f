"""Recipient access tables as files."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops.formats.rat import RecipientAccess

TEXT = """# Recipient Access Table
example.test        ACCEPT (our own)
.example.test       accept bypass_limits
user@old.test       REJECT 551 "#5.1.6 user has \\"moved\\"."

ALL                 REJECT
"""


def test_a_file_is_read_line_by_line() -> None:
    found = RecipientAccess().parse(TEXT)
    assert found.faults == ()
    assert [(entry.line, dict(entry.values)) for entry in found.entries] == [
        (2, {"recipient": "example.test", "rule": "ACCEPT", "comment": "our own"}),
        (3, {"recipient": ".example.test", "rule": "accept", "bypass_limits": "yes"}),
        (4, {"recipient": "user@old.test", "rule": "REJECT", "code": "551", "text": '#5.1.6 user has "moved".'}),
        (6, {"recipient": "ALL", "rule": "REJECT"}),
    ]


def test_what_cannot_be_read_is_told_with_its_line() -> None:
    found = RecipientAccess().parse("a.test ACCEPT\nb.test REJECT because we say so\n")
    assert found.faults == ("line 2: RECIPIENT ACCEPT or REJECT is needed (found 'b.test REJECT because we say so')",)


PLAIN = st.text(st.characters(min_codepoint=32, exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20).map(
    str.strip
)
ROWS = st.fixed_dictionaries(
    {
        "recipient": st.sampled_from(
            ["a.test", ".a.test", "user@a.test", "user@", "user@[10.0.0.1]", "[10.0.0.1]", "ALL"]
        ),
        "rule": st.sampled_from(["ACCEPT", "REJECT"]),
    },
    optional={
        "code": st.integers(400, 599),
        "bypass_limits": st.just(True),
        "comment": PLAIN.filter(bool),
    },
)


@given(st.lists(st.tuples(ROWS, PLAIN), max_size=5))
def test_what_is_written_is_read_again(pairs: list[tuple[dict[str, Any], str]]) -> None:
    rows = [row | ({"text": text} if "code" in row else {}) for row, text in pairs]
    found = RecipientAccess().parse(RecipientAccess().format(rows))
    assert found.faults == ()
    read = [dict(entry.values) for entry in found.entries]
    for row in read:
        row.update({"code": int(str(row["code"]))} if "code" in row else {})
        row.update({"bypass_limits": True} if "bypass_limits" in row else {})
    assert read == rows
