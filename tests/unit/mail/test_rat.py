import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.rat import RatEntry, RecipientAccessTable, parse_recipient
from protocol.address import parse_path


def table(*patterns: str) -> RecipientAccessTable:
    return RecipientAccessTable([RatEntry(pattern) for pattern in patterns])


@pytest.mark.parametrize(
    ("pattern", "hit", "miss"),
    [
        ("joe@example.test", ("Joe", "EXAMPLE.test"), ("jo", "example.test")),
        ("joe@", ("joe", "anything.example"), ("jane", "anything.example")),
        ("example.test", ("x", "example.test"), ("x", "sub.example.test")),
        (".example.test", ("x", "a.sub.example.test"), ("x", "example.test")),
        ("[192.0.2.1]", ("x", "[192.0.2.1]"), ("x", "[192.0.2.2]")),
        ("joe@[192.0.2.1]", ("joe", "[192.0.2.1]"), ("jane", "[192.0.2.1]")),
    ],
)
def test_forms(pattern: str, hit: tuple[str, str], miss: tuple[str, str]) -> None:
    assert table(pattern).lookup(*hit).accept
    assert not table(pattern).lookup(*miss).accept


def test_the_first_row_that_qualifies_wins() -> None:
    rows = RecipientAccessTable(
        [RatEntry("spam@", accept=False, code=554, text="no"), RatEntry("example.test"), RatEntry("ok@example.test")]
    )
    assert rows.lookup("spam", "example.test").code == 554
    assert rows.lookup("ok", "example.test").pattern == "example.test"


def test_everybody_else_is_refused() -> None:
    row = table().lookup("x", "y.example")
    assert (row.accept, row.code, row.text) == (False, 550, "#5.1.0 Address rejected.")
    assert table("ALL").lookup("x", "y.example").accept


@given(st.text(max_size=40))
def test_any_text_is_a_pattern_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_recipient(text)


@pytest.mark.parametrize(
    "pattern", ["b\u00fccher.test", "B\u00dcCHER.test", "xn--bcher-kva.test", "j\u00f6@b\u00fccher.test"]
)
def test_a_domain_may_be_written_as_people_write_it(pattern: str) -> None:
    """Recipients are known by A-labels; a row in other letters was never found."""
    path = parse_path("<j\u00f6@B\u00fccher.test>".encode(), smtputf8=True)
    assert table(pattern).lookup(path.local, path.domain).accept


def test_a_partial_domain_in_other_letters() -> None:
    assert table(".b\u00fccher.test").lookup("a", "sub.xn--bcher-kva.test").accept
