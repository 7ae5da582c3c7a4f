"""`mail.bounce.text`: texts with variables."""

import pytest

from mail.bounce.text import BUILT_IN, VARIABLES, read_text

VALUES = {name.lower(): name.upper() for name in VARIABLES}


def test_variables_are_filled_in_whatever_their_case_and_lines_end_in_crlf() -> None:
    text = read_text("To $envelopefrom,\n$$7 and $MID$Subject.\r\n", "S")
    assert text.fill(VALUES) == "To ENVELOPEFROM,\r\n$7 and MIDSUBJECT.\r\n"


def test_every_variable_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match=r"\$Foo, \$Bar is no variable; there are: \$About, \$BodySize"):
        read_text("$Foo $MID $Bar", "S")


@pytest.mark.parametrize(("text", "subject"), [("a\0b", "S"), ("a", "S\r\nBcc: x"), ("x" * 20_001, "S")])
def test_what_is_no_text_is_refused(text: str, subject: str) -> None:
    with pytest.raises(ValueError, match="a text"):
        read_text(text, subject)


def test_the_built_in_texts_are_whole() -> None:
    for text in BUILT_IN.values():
        filled = text.fill(VALUES)
        assert "$" not in filled
        assert "DETAILS" in filled
