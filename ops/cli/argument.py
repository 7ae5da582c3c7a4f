"""Arguments of a command, derived from the signature of its function.

A plain parameter is positional, `list[str]` takes the rest, a keyword-only one is an option (`--limit N`), a
keyword-only `bool` is a flag; options that several commands take alike are a `TypedDict` that each unpacks
(`**given: Unpack[Given]`). `Annotated[TYPE, Help(...)]` gives the text for help. Types: str, int, float, `Literal` of
words. A secret parameter has no place on a command line, where histories and process lists show it:
a dialogue asks for it, or the command reads it from standard input. Called by the registry; raises `UsageProblem`
(status 64) for what does not fit.
"""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from core.errors import EX_USAGE, GatepostError


class UsageProblem(GatepostError):
    """The command line is not one that the command understands."""

    def __init__(self, text: str) -> None:
        super().__init__(text, EX_USAGE)


@dataclass(frozen=True)
class Help:
    """What help says about a parameter, and how it is called there."""

    text: str
    metavar: str = ""
    least: float | None = None
    most: float | None = None
    secret: bool = False
    """True: its value never reaches a log, and no command line can give it."""
    short: str = ""
    """A letter that also introduces the option: `-i`, `-C 3`; letters of flags may stand together."""


@dataclass(frozen=True)
class Parameter:
    """One parameter as the command line knows it."""

    name: str
    kind: Literal["positional", "rest", "option", "flag", "secret"]
    type: type
    help: Help
    choices: tuple[str, ...] = ()
    required: bool = False
    default: Any = None

    @property
    def metavar(self) -> str:
        """How usage shows a value of this parameter."""
        return "|".join(self.choices) if self.choices else self.help.metavar or self.name.upper()

    @property
    def option(self) -> str:
        """The word that introduces an option or flag."""
        return "--" + self.name.rstrip("_").replace("_", "-").replace(".", "-")

    def read(self, word: str) -> Any:
        """Turn a word into a value. Raises `UsageProblem`."""
        if self.choices:
            found = [choice for choice in self.choices if choice.lower() == word.lower()]
            if not found:
                raise UsageProblem(f"{word!r} is not one of {', '.join(self.choices)}")
            return found[0]
        if self.type is str:
            return word
        try:
            value = self.type(word.replace(",", ""))
        except ValueError:
            kind = "a whole number" if self.type is int else "a number"
            raise UsageProblem(f"{self.metavar}: {word!r} is not {kind}") from None
        self._check_range(value)
        return value

    def _check_range(self, value: float) -> None:
        least, most = self.help.least, self.help.most
        if (least is not None and not value >= least) or (most is not None and not value <= most):
            upper = "" if most is None else f" to {most:g}"
            raise UsageProblem(f"{self.metavar} is {value:g}; give a number from {least or 0:g}{upper}")


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Derive the parameters from a command function; its first one, the call, is left out."""
    hints = get_type_hints(function, include_extras=True)
    signature = list(inspect.signature(function).parameters.values())[1:]
    own = [item for item in signature if item.kind is not inspect.Parameter.VAR_KEYWORD]
    found = [_parameter(item, hints[item.name]) for item in own]
    for item in signature[len(own) :]:
        found += _unpacked(get_args(hints[item.name])[0])
    return tuple(found)


def _unpacked(options: type) -> list[Parameter]:
    """Give the options of a `TypedDict`, none of which has to be given."""
    hints = get_type_hints(options, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [_parameter(inspect.Parameter(name, kind, default=None), hint) for name, hint in hints.items()]


def _parameter(item: inspect.Parameter, hint: Any) -> Parameter:
    described = Help("")
    if get_origin(hint) is Annotated:
        hint, described = get_args(hint)[:2]
    if get_origin(hint) in {Union, types.UnionType}:
        hint = next(part for part in get_args(hint) if part is not type(None))
    if described.secret:
        return Parameter(item.name, "secret", str, described, default="")
    keyword = item.kind is inspect.Parameter.KEYWORD_ONLY
    required = item.default is inspect.Parameter.empty
    default = None if required else item.default
    if get_origin(hint) is list:
        return Parameter(item.name, "rest", str, described, (), required, default)
    if hint is bool:
        return Parameter(item.name, "flag", bool, described, (), False, default)
    choices = tuple(word for word in get_args(hint) if word) if get_origin(hint) is Literal else ()
    kind: Literal["option", "positional"] = "option" if keyword else "positional"
    return Parameter(item.name, kind, str if choices else hint, described, choices, required, default)


def parse(parameters: Sequence[Parameter], words: Sequence[str]) -> dict[str, Any]:
    """Turn the words after a command's name into its keyword arguments. Raises `UsageProblem`."""
    options = {item.option: item for item in parameters if item.kind in {"option", "flag"}}
    letters = {item.help.short: item.option for item in options.values() if item.help.short}
    result: dict[str, Any] = {}
    loose: list[str] = []
    pending = _spelled_out(words, letters) if letters else list(words)
    while pending:
        word = pending.pop(0)
        if word == "--":
            loose += pending
            break
        if not word.startswith("--"):
            loose.append(word)
            continue
        name, equals, value = word.partition("=")
        item = options.get(name)
        if item is None:
            raise UsageProblem(f"unknown option {name}")
        result[item.name] = _option_value(item, value if equals else None, pending)
    result.update(_place(parameters, loose))
    return result


def _spelled_out(words: Sequence[str], letters: Mapping[str, str]) -> list[str]:
    """Put long options in the place of letters, up to `--`; the value of an option may follow at once (`-C3`)."""
    spelled: list[str] = []
    for place, word in enumerate(words):
        if word == "--":
            return [*spelled, *words[place:]]
        if word[:1] == "-" and word[1:2] not in {"", "-"}:
            spelled += _of_letters(word, letters)
        else:
            spelled.append(word)
    return spelled


def _of_letters(word: str, letters: Mapping[str, str]) -> list[str]:
    if word[1] in letters and word[2:].isdecimal():
        return [letters[word[1]], word[2:]]
    if unknown := [letter for letter in word[1:] if letter not in letters]:
        raise UsageProblem(f"unknown option -{unknown[0]}; put -- before a word that begins with a dash")
    return [letters[letter] for letter in word[1:]]


def _option_value(item: Parameter, value: str | None, pending: list[str]) -> Any:
    if item.kind == "flag":
        if value is not None:
            raise UsageProblem(f"{item.option} takes no value")
        return True
    if value is None:
        if not pending:
            raise UsageProblem(f"{item.option} needs a value: {item.option} {item.metavar}")
        value = pending.pop(0)
    return item.read(value)


def _place(parameters: Sequence[Parameter], loose: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for item in parameters:
        if item.kind == "positional" and loose:
            result[item.name] = item.read(loose.pop(0))
        elif item.kind == "rest" and loose:
            result[item.name] = [item.read(word) for word in loose]
            loose = []
        elif item.required:
            raise UsageProblem(f"{item.metavar} is missing")
    if loose:
        raise UsageProblem(f"unexpected {loose[0]!r}")
    return result


def on_the_line(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Give the parameters that a command line can give."""
    return [item for item in parameters if item.kind != "secret"]


def usage(name: str, parameters: Sequence[Parameter]) -> str:
    """Give the line of usage: `quarantine list [--limit N]`."""
    return " ".join([name, *(_usage_of(item) for item in on_the_line(parameters))])


def _usage_of(item: Parameter) -> str:
    if item.kind in {"flag", "option"}:
        option = f"-{item.help.short}" if item.help.short else item.option
        text = option if item.kind == "flag" else f"{option} {item.metavar}"
        return text if item.required and item.kind == "option" else f"[{text}]"
    text = item.metavar + ("…" if item.kind == "rest" else "")
    return text if item.required else f"[{text}]"
