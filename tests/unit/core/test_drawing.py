"""core.drawing: what another session's output may show on a terminal or in a pager, and what it never does."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.drawing import Drawing

DRAWS = [
    "plain text\r\n\ttab\b",
    "\x1b[2J\x1b[H\x1b[1;31mred\x1b[0m",
    "\x1b[10;5Hhere\x1b[K\x1b[?25l\x1b[?1049h",
    "\x1b7saved\x1b8\x1bc\x1b(B",
    "\x1b[38;2;1;2;3mcolour\x1b[4A\x1b[2L\x1b[3P",
    "grüße 漢字",
]
ACTS = [
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b]0;title\x1b\\",
    '\x1bP$q"p\x1b\\',
    "\x1b_Gf=100\x1b\\",
    "\x1b_hidden\x1b\\\x1b^pm\x1b\\",
    "\x1b[6n\x1b[c\x1b[>0c\x1b[5n\x1b[?6n",
    "\x1b[21t\x1b[5i\x1bZ",
    "\x1b[>q",
    "\x1b[?1000h",
    "\x1b[?1004h",
    "\x1b[?2004h",
    "\x1b[?25;1000h",
    "\x1b[999999999b",
    "\x9b6n",
    "\x9d0;title\x9c",
    "\u202e\u2066\x05\x07",
]


@pytest.mark.parametrize("sent", DRAWS)
def test_what_only_shows_passes_in_pieces_too(sent: str) -> None:
    assert Drawing().for_terminal(f"a{sent}b") == f"a{sent}b"
    cut = Drawing()
    assert "".join(cut.for_terminal(one) for one in f"a{sent}b") == f"a{sent}b"


@pytest.mark.parametrize("sent", ACTS)
def test_what_a_terminal_would_answer_or_remember_is_left_out(sent: str) -> None:
    assert Drawing().for_terminal(f"a{sent}b") == "ab"
    cut = Drawing()
    assert "".join(cut.for_terminal(one) for one in f"a{sent}b") == "ab"


ODD = "\x1b[]PX_^0;?hcntZabc\x07\x18\\\x9b\x9d\x9c"


@given(st.lists(st.text(alphabet=ODD + "\r\n\x08\u202e\u200b\x00", max_size=20), max_size=10))
def test_no_output_gets_a_control_character_into_the_text(pieces: list[str]) -> None:
    drawing = Drawing()
    text = "".join(drawing.plain(piece) for piece in pieces)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u200b]", text)


@given(st.lists(st.text(alphabet=ODD, max_size=20), max_size=10))
def test_no_output_gets_an_answered_sequence_to_the_terminal(pieces: list[str]) -> None:
    drawing = Drawing()
    shown = "".join(drawing.for_terminal(piece) for piece in pieces)
    assert not re.search(r"\x1b[]P_^XZ]|\x1b\[[0-9;?]*[cnt]|\x9b|\x9d|\x90|\x07", shown)


@given(st.lists(st.sampled_from(DRAWS + ACTS), max_size=8), st.data())
def test_pieces_give_the_same_as_the_whole(texts: list[str], data: st.DataObject) -> None:
    whole = "".join(texts) + "."
    at = data.draw(st.integers(0, len(whole)))
    drawing = Drawing()
    assert drawing.for_terminal(whole[:at]) + drawing.for_terminal(whole[at:]) == Drawing().for_terminal(whole)


def test_a_sequence_that_never_ends_holds_nothing() -> None:
    drawing = Drawing()
    drawing.for_terminal("\x1b]52;c;" + "A" * 10_000)
    assert drawing.for_terminal("seen") == "seen"


def test_without_a_terminal_the_text_is_left_and_other_controls_are_told() -> None:
    assert Drawing().plain("\x1b[1mbold\x1b[0m\r\nline\x05\r\n") == "bold\nline^E\n"
