"""What a model says of itself in plain terms, and reading and showing values by it."""

from typing import Annotated, Literal

import pytest
from pydantic import AfterValidator, Field

from core.config import Count, Section, Size
from core.schema import Key, Refused, complete, get, parts_of, put
from core.schema.config import describe, top_keys


def _no_blanks(value: str) -> str:
    if " " in value:
        raise ValueError("no blanks")
    return value


class Inner(Section):
    """Parts that may be left out."""

    most: Count | None = Field(default=None, description="how many")


class Row(Section):
    """A row.

    More about it.
    """

    name: Annotated[str, AfterValidator(_no_blanks)] = Field(description="its name")
    mode: Literal["", "off", "on"] = Field(default="", description="how")
    size: Size = Field(default=1024, description="how large")
    ratio: float = Field(default=0.5, ge=0, le=1, description="how much")
    hosts: tuple[Annotated[str, AfterValidator(_no_blanks)], ...] = Field(default=(), description="where")
    sure: bool | None = Field(default=None, description="whether")
    secret_word: str = Field(default="", max_length=3, description="hidden")
    inner: Inner = Field(default=Inner(most=3), description="parts")
    rows: tuple[Inner, ...] = Field(default=(), description="more")


class Whole(Section):
    """A document."""

    row: tuple[Row, ...] = Field(default=(), max_length=9, description="rows")


class Other(Section):
    """Another document."""

    row: tuple[Inner, ...] = Field(default=(), description="other rows")
    more: Inner = Inner()


def _key(name: str) -> Key:
    shape = top_keys(Whole)["row"].shape
    assert shape is not None
    return next(key for key in shape.flat() if key.name == name)


def test_kinds_bounds_and_defaults_come_from_the_model() -> None:
    shape = describe(Row)
    assert shape.description == "A row."
    facts = [(key.name, key.kind, key.default) for key in shape.flat()]
    assert facts == [
        ("name", "text", None),
        ("mode", "choice", ""),
        ("size", "size", 1024),
        ("ratio", "number", 0.5),
        ("hosts", "list", []),
        ("sure", "yes-no", None),
        ("secret_word", "text", ""),
        ("inner.most", "whole", 3),
    ]
    assert (_key("ratio").least, _key("ratio").most) == (0, 1)
    assert _key("mode").choices == ("off", "on")
    assert [key.name for key in shape.flat() if key.required] == ["name"]
    assert [key.name for key in shape.flat() if key.optional] == ["sure", "inner.most"]
    assert [key.name for key in shape.flat() if key.secret] == ["secret_word"]


def test_documents_are_described_together_and_the_first_one_counts() -> None:
    keys = top_keys(Whole, Other)
    assert list(keys) == ["row", "more"]
    assert keys["row"].most == 9


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("name", " a ", "a"),
        ("mode", "ON", "on"),
        ("size", "20M", "20M"),
        ("size", "1,024", 1024),
        ("ratio", "1", 1),
        ("ratio", "0.25", 0.25),
        ("hosts", "a, b,c", ["a", "b", "c"]),
        ("sure", "Y", True),
        ("inner.most", "7", 7),
    ],
)
def test_words_become_values_as_toml_has_them(name: str, text: str, value: object) -> None:
    assert _key(name).read(text) == value
    assert _key(name).read(_key(name).show(value)) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("name", "a b", "no blanks"),
        ("mode", "perhaps", "'off' or 'on'"),
        ("size", "much", "a size is a number of octets"),
        ("ratio", "2", "less than or equal to 1"),
        ("hosts", "a, b c", "no blanks"),
        ("sure", "maybe", "answer yes or no"),
        ("inner.most", "-1", "greater than or equal to 0"),
    ],
)
def test_what_the_model_does_not_take_is_refused_with_its_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        _key(name).read(text)


def test_a_secret_is_no_part_of_the_reason() -> None:
    with pytest.raises(Refused) as caught:
        _key("secret_word").read("hunter2")
    assert "hunter2" not in str(caught.value)


def test_a_row_is_looked_at_as_a_whole() -> None:
    check = top_keys(Whole)["row"].check_row
    assert check({"name": "a"}) == []
    assert [str(fault) for fault in check({"name": "a b", "inner": {"most": -1}})] == [
        "name: no blanks (found 'a b')",
        "inner.most: must be greater than or equal to 0 (found -1)",
    ]


def test_dotted_names_reach_into_sections_and_leave_none_behind() -> None:
    row: dict[str, object] = {"name": "a"}
    put(row, "inner.most", 3)
    assert row == {"name": "a", "inner": {"most": 3}}
    assert get(row, "inner.most") == 3
    put(row, "inner.most", None)
    assert row == {"name": "a"}
    assert get(row, "inner.most") is None


def test_a_row_is_completed_with_defaults() -> None:
    full = complete(describe(Row), {"name": "a", "size": "2K"}, ["name", "size", "ratio", "sure"])
    assert full == {"name": "a", "size": "2K", "ratio": 0.5}


def test_values_with_commas_are_given_as_a_json_list() -> None:
    assert parts_of('["a, b", "c"]') == ["a, b", "c"]
    assert parts_of("[127.0.0.1]:25, b") == ["[127.0.0.1]:25", "b"]
    assert Key("x", "list").show(["a, b", "c"]) == '["a, b", "c"]'


def test_words_of_a_list_are_shown_so_that_they_are_read_again() -> None:
    key = Key("hosts", "list", item=Key("host"))
    for words in (["a", "b"], ["a,b"], [""], ["[x", "y"], ["x\ny"], []):
        assert key.read(key.show(words)) == words


class Formed(Section):
    """A key of a form, and a secret one."""

    address: Annotated[str, Field(pattern=r"^[!-?A-~]+@[!-?A-~]+$")]
    password: Annotated[str, Field(pattern=r"^[0-9]$")]


def test_a_word_of_the_wrong_form_is_refused_with_the_form_and_a_secret_is_not_told() -> None:
    keys = {key.name: key for key in describe(Formed).keys}
    with pytest.raises(Refused, match=r"must be an address of the form user@domain \(found 'mx1'\)"):
        keys["address"].check("mx1")
    with pytest.raises(Refused) as told:
        keys["password"].check("hunter2")
    assert str(told.value) == "must be one digit"
