"""What a watcher's terminal is shown of another session, and what it never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.cli.drawing import Drawing

DRAWS = [
    "plain text\r\n\ttab\b",
    "\x1b[2J\x1b[H\x1b[1;31mred\x1b[0m",
    "\x1b[10;5Hhere\x1b[K\x1b[?25l\x1b[?1049h",
    "\x1b7saved\x1b8\x1bc\x1b(B",
    "\x1b[38;2;1;2;3mcolour\x1b[4A\x1b[2L\x1b[3P",
    "grüße 漢字",
]
ACTS = [
    ("\x1b]0;title\x07", ""),
    ("\x1b]52;c;ZXZpbA==\x1b\\x", "x"),
    ('\x1bP$q"p\x1b\\y', "y"),
    ("\x1b[6n\x1b[c\x1b[>0c\x1b[5n", ""),
    ("\x1b[21t\x1b[5i\x1bZ", ""),
    ("\x1b_hidden\x1b\\\x1b^pm\x1b\\", ""),
    ("\x1b[?1000h\x1b[?2004h", ""),
    ("\u202eright to left\x05\x9b6n", "right to left6n"),
]


@pytest.mark.parametrize("text", DRAWS)
def test_what_draws_passes(text: str) -> None:
    assert Drawing().feed(text.encode()) == text


@pytest.mark.parametrize(("text", "shown"), ACTS)
def test_what_acts_on_a_terminal_does_not(text: str, shown: str) -> None:
    assert Drawing().feed(text.encode()) == shown


@given(st.lists(st.sampled_from([text for text in DRAWS] + [text for text, _ in ACTS]), max_size=8), st.data())
def test_pieces_give_the_same_as_the_whole(texts: list[str], data: st.DataObject) -> None:
    whole = "".join(texts).encode()
    cut = data.draw(st.integers(0, len(whole)))
    drawing = Drawing()
    assert drawing.feed(whole[:cut]) + drawing.feed(whole[cut:]) == Drawing().feed(whole)


PIECES = [
    b"\x1b",
    b"]",
    b"P",
    b"_",
    b"[",
    b"6n",
    b"c",
    b"\x07",
    b"\\",
    b"x",
    b"\xc2\x9b",
    b"\x18",
    b"\xff",
    b"0;",
    b"Z",
]
ANSWERED = ("\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1bZ", "\x1b[6n", "\x1b[0;c", "\x1b[c", "\x9b", "\x05")


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join), max_size=6))
def test_no_octets_ask_a_terminal_for_an_answer(pieces: list[bytes]) -> None:
    drawing = Drawing()
    shown = "".join(drawing.feed(piece) for piece in pieces)
    assert not [part for part in ANSWERED if part in shown]


def test_a_sequence_that_never_ends_holds_nothing() -> None:
    drawing = Drawing()
    drawing.feed(b"\x1b]52;c;" + b"A" * 10_000)
    assert drawing.feed(b"seen") == "seen"


def test_without_a_terminal_the_text_is_left() -> None:
    assert Drawing().plain(b"\x1b[1mbold\x1b[0m\r\nline\r\n") == "bold\nline\n"
