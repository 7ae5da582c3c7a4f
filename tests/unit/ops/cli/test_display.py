"""Nothing that came from mail may steer a terminal, and values read well."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.display import (
    age,
    as_json,
    brief,
    clean,
    columns,
    cut,
    fitted,
    moment,
    number,
    octets,
    pad,
    paint,
    scrub,
    unpainted,
    with_article,
)


@given(st.text())
def test_cleaned_text_holds_nothing_that_steers_a_terminal(text: str) -> None:
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in clean(text))


def test_escape_sequences_line_ends_and_direction_marks_are_shown() -> None:
    assert clean("a\x1b[2Jb\r\nc\x9b\u202ed\u2028") == "a\\x1b[2Jb\\x0d\\x0ac\\x9b\\u202ed\\u2028"


def test_line_ends_stay_only_where_they_are_wanted() -> None:
    document = {"headers": "A: 1\r\nB: \x1b2\n", "subject": "x\ny", "deep": [{"k\n": "v\n"}]}
    assert scrub(document, multiline={"headers"}) == {
        "headers": "A: 1\nB: \\x1b2\n",
        "subject": "x\\x0ay",
        "deep": [{"k\\x0a": "v\\x0a"}],
    }


def test_json_is_ascii_so_it_cannot_steer_a_terminal_either() -> None:
    text = as_json({"subject": "\x1b[2J\u202eä\x9b"})
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text) == {"subject": "\x1b[2J\u202eä\x9b"}


def test_wide_and_combining_characters_are_measured_as_a_terminal_does() -> None:
    assert [columns("abc"), columns("日本"), columns("e\u0301")] == [3, 4, 1]
    assert cut("日本語", 5) == "日本…"
    assert pad("日", 4) == "日  "


@pytest.mark.parametrize(
    ("seconds", "short", "long"),
    [
        (0, "0s", "0 secs"),
        (3144, "52m 24s", "52 mins 24 secs"),
        (694861, "8d 1h 1m 1s", "1 week 1 day 1 hour 1 min 1 sec"),
    ],
)
def test_durations(seconds: int, short: str, long: str) -> None:
    assert (brief(seconds), age(seconds)) == (short, long)


def test_moments_numbers_and_sizes() -> None:
    assert moment(1_795_314_062) == "Sun Nov 22 02:21:02 2026 UTC"
    assert moment(None) == "Never"
    assert [number(1234567), number(None), number("up")] == ["1,234,567", "-", "up"]
    assert [octets(830), octets(2560), octets(14 * 1024), octets("?")] == ["830", "2.5K", "14K", "-"]


def test_styles_are_for_terminals_and_come_off_again() -> None:
    assert paint("x", "bad", 0) == "x"
    painted = paint("x", "bad", 80)
    assert painted != "x"
    assert unpainted(f"a {painted} b") == "a x b"


def test_prose_is_broken_at_blanks_under_its_indent_and_only_where_it_is_too_long() -> None:
    text = "  Please specify the domains\nshort   line\n" + "x" * 30
    assert fitted(text, 20) == "  Please specify the\n  domains\nshort   line\n" + "x" * 30
    assert fitted(text, 0) == text


@pytest.mark.parametrize(
    ("noun", "shown"), [("route", "a route"), ("interface", "an interface"), ("alias", "an alias")]
)
def test_nouns_have_their_article(noun: str, shown: str) -> None:
    assert with_article(noun) == shown
