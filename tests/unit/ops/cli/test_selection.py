"""One of several names, by itself or by its number."""

import pytest

from ops.cli.selection import meant, number_in

NAMES = ["InboundMail", "2", "example.test."]


@pytest.mark.parametrize(
    ("answer", "name"),
    [("inboundmail", "InboundMail"), ("1", "InboundMail"), ("2", "2"), ("Example.Test", "example.test."), ("4", "")],
)
def test_a_name_comes_before_a_number(answer: str, name: str) -> None:
    assert meant(answer, NAMES) == name


@pytest.mark.parametrize("answer", ["0", "-1", "4", "", "²", "٣", "9" * 5000], ids=lambda answer: answer[:4] or "none")
def test_what_is_no_number_of_the_list_is_none(answer: str) -> None:
    assert number_in(answer, 3) == 0
