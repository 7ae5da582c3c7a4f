import time

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from core.regex import RegexError, compile_pattern


def test_search_is_unanchored_and_reads_any_octets() -> None:
    assert compile_pattern("(?i)hold").search(b"\xff\xfe [HOLD] \x80") == "HOLD"
    assert compile_pattern("é").search("café".encode()) == "é"
    assert compile_pattern("x").search(b"\xff" * 100) is None


@pytest.mark.parametrize(
    ("pattern", "offset", "words"),
    [
        ("ab(?=c)", 2, "look-ahead"),
        ("ab(?<!c)", 2, "look-behind"),
        ("(a)\\1", 3, "back-references"),
        ("a**", 1, "repetition"),
        ("x\ud800", 1, "Unicode"),
    ],
)
def test_what_is_not_available_is_named_with_its_offset(pattern: str, offset: int, words: str) -> None:
    with pytest.raises(RegexError) as caught:
        compile_pattern(pattern)
    assert caught.value.offset == offset
    assert words in caught.value.reason


def test_a_pattern_that_explodes_elsewhere_takes_linear_time() -> None:
    started = time.process_time()
    assert compile_pattern("(a+)+$").search(b"a" * 50_000 + b"!") is None
    assert time.process_time() - started < 1


def test_errors_are_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RegexError):
        compile_pattern("(((")
    assert capfd.readouterr().err == ""


@given(
    pattern=st.text(alphabet=st.sampled_from(list("ab\\[].-é ")), min_size=1, max_size=6),
    subject=st.binary(max_size=3) | st.text(alphabet=st.sampled_from(list("ab[].-é \\"))).map(str.encode),
)
def test_plain_text_finds_what_the_engine_finds(pattern: str, subject: bytes) -> None:
    """Plain text is searched for without the engine, which must make no difference."""
    try:
        plain = compile_pattern(pattern)
    except RegexError:
        return
    found = re2.search(pattern, subject)
    assert plain.search(subject) == (None if found is None else found.group().decode("utf-8", "replace"))
