"""What a model refuses is said in an operator's words."""

from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field, ValidationError

from core.alert.config import Mailbox
from core.config import Host, Name, Section
from core.config.document import problems_of


class _Row(Section):
    name: Name = "x"
    mailbox: Mailbox = "a@b"
    mode: Annotated[str, Field(pattern="^(strict|best-effort)$")] = "strict"
    count: Annotated[int, Field(le=60)] = 1
    host: Host = "h"
    password: Annotated[str, Field(max_length=3)] = ""


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"name": ""}, "must not be empty"),
        ({"name": "a b"}, "must be of letters, digits, '_', '-' and '.', 64 at most, none of the last two first"),
        ({"mailbox": "nobody"}, "must be an address of the form user@domain (found 'nobody')"),
        ({"mode": "lax"}, "must be one of strict, best-effort (found 'lax')"),
        ({"count": 61}, "must be less than or equal to 60 (found 61)"),
        ({"count": "many"}, "must be a whole number (found 'many')"),
        ({"password": "secret"}, "must have at most 3 characters"),
        ({"nothing": 1}, "unknown key; remove it, or see the commented example for the right name"),
        ({"host": ["a"]}, "must be a text"),
    ],
)
def test_no_word_of_the_library_reaches_an_operator(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Row.model_validate(row)
    (problem,) = problems_of(caught.value, "file")
    assert problem.reason.removesuffix(" (found 'a b')") == said


def _zone(value: str) -> str:
    raise ValueError(f"{value!r} is none")


class _Named(Section):
    zone: Annotated[str, AfterValidator(_zone)]


def test_a_reason_that_shows_the_value_does_not_show_it_twice() -> None:
    with pytest.raises(ValidationError) as caught:
        _Named.model_validate({"zone": "Mars"})
    assert [problem.reason for problem in problems_of(caught.value, "")] == ["'Mars' is none"]
