"""Arguments come from signatures: what fits, what does not, and what usage says."""

from typing import Annotated, Literal, TypedDict, Unpack

import pytest

from ops.cli.argument import Help, UsageProblem, parameters_of, parse, usage


async def sample(
    call: object,
    host: Annotated[str, Help("a host")],
    kind: Annotated[Literal["short", "long", ""], Help("a kind")] = "",
    rest: Annotated[list[str] | None, Help("more", "MORE")] = None,
    *,
    limit: Annotated[int | None, Help("how many", "N", least=1, most=10)] = None,
    exact: Annotated[bool, Help("to the letter")] = False,
) -> None: ...


PARAMETERS = parameters_of(sample)


def test_usage_shows_every_parameter() -> None:
    assert usage("sample", PARAMETERS) == "sample HOST [short|long] [MORE…] [--limit N] [--exact]"


class Shared(TypedDict, total=False):
    size: Annotated[int, Help("how large", "N", least=1)]
    quick: Annotated[bool, Help("at once")]


async def sharing(call: object, host: str, *, own: str = "", **given: Unpack[Shared]) -> None: ...


def test_options_that_commands_share_are_options_of_each() -> None:
    parameters = parameters_of(sharing)
    assert usage("sharing", parameters) == "sharing HOST [--own OWN] [--size N] [--quick]"
    assert parse(parameters, ["h", "--size", "3", "--quick"]) == {"host": "h", "size": 3, "quick": True}
    assert parse(parameters, ["h"]) == {"host": "h"}
    with pytest.raises(UsageProblem, match="N is 0"):
        parse(parameters, ["h", "--size", "0"])


def test_words_become_typed_arguments() -> None:
    words = ["--limit", "3", "mx.example", "LONG", "a", "--exact", "b"]
    assert parse(PARAMETERS, words) == {
        "host": "mx.example",
        "kind": "long",
        "rest": ["a", "b"],
        "limit": 3,
        "exact": True,
    }


def test_an_option_takes_its_value_after_an_equals_sign() -> None:
    assert parse(PARAMETERS, ["h", "--limit=5"]) == {"host": "h", "limit": 5}


def test_words_after_a_double_dash_are_never_options() -> None:
    assert parse(PARAMETERS, ["--", "--host"]) == {"host": "--host"}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "HOST is missing"),
        (["h", "wide"], "'wide' is not one of short, long"),
        (["h", "--limit"], "--limit needs a value: --limit N"),
        (["h", "--limit", "x"], "N: 'x' is not a whole number"),
        (["h", "--limit", "11"], "N is 11; give a number from 1 to 10"),
        (["h", "--bogus"], "unknown option --bogus"),
        (["h", "--exact=yes"], "--exact takes no value"),
    ],
)
def test_what_does_not_fit_is_named(words: list[str], reason: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse(PARAMETERS, words)
    assert (caught.value.text, caught.value.status) == (reason, 64)


def test_a_word_too_many_is_named() -> None:
    async def bare(call: object) -> None: ...

    with pytest.raises(UsageProblem, match="unexpected 'x'"):
        parse(parameters_of(bare), ["x"])


def test_letters_stand_for_options_together_and_with_their_value() -> None:
    async def run(
        call: object,
        regex: str,
        *,
        context: Annotated[int, Help("lines", "N", short="C")] = 0,
        insensitive: Annotated[bool, Help("case", short="i")] = False,
        inverted: Annotated[bool, Help("others", short="v")] = False,
    ) -> None: ...

    parameters = parameters_of(run)
    wanted = {"context": 3, "insensitive": True, "inverted": True, "regex": "x"}
    assert parse(parameters, ["-iv", "-C", "3", "x"]) == wanted
    assert parse(parameters, ["-C3", "x", "-v", "--insensitive"]) == wanted
    assert parse(parameters, ["--", "-i"]) == {"regex": "-i"}
    assert usage("grep", parameters) == "grep REGEX [-C N] [-i] [-v]"
    with pytest.raises(UsageProblem, match="unknown option -z"):
        parse(parameters, ["-iz", "x"])
