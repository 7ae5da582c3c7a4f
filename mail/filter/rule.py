"""The rules of the filter language: what each may be asked, checked when a file is loaded, and how it answers.

`compiler` calls `compile_test` for every test of a file; the closures that come back run once a message each.
A rule that does not exist or is asked in a wrong way is a fault with its position.
"""

import operator
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from core.regex import Pattern, RegexError, compile_pattern
from mail.filter.syntax import Condition, FilterFault, Position, Value
from mail.filter.view import View
from mail.netblock import parse_address, parse_netblock

Predicate: TypeAlias = Callable[[View], bool]
Faults: TypeAlias = list[FilterFault]
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EQUAL = ("==", "!=")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A test ready to run, and what it costs compared to others; cheap sides of `and` and `or` run first."""

    run: Predicate
    cost: int


@dataclass(frozen=True, slots=True)
class Given:
    """The checked pieces of one test."""

    operator: str
    numbers: tuple[int, ...]
    texts: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    number: int
    text: str
    pattern: Pattern | None


@dataclass(frozen=True, slots=True)
class Spec:
    """How a rule is asked. Kinds: `text`, `pattern`, `number`; '' = takes no value."""

    build: Callable[[Given], Predicate]
    value: str = ""
    arguments: tuple[str, ...] = ()
    needed: int = 0
    """How many of `arguments` must be there."""
    value_optional: bool = False
    cost: int = 1


def _always(_given: Given) -> Predicate:
    return lambda _view: True


def _subject(given: Given) -> Predicate:
    assert given.pattern is not None
    search = given.pattern.search

    def test(view: View) -> bool:
        found = search(view.subject())
        if found is None:
            return False
        view.matched.append(found)
        return True

    return test


def any_of(subjects: Callable[[View], Sequence[bytes]]) -> Callable[[Given], Predicate]:
    """Make a rule that is true when one of several values matches the pattern."""

    def build(given: Given) -> Predicate:
        assert given.pattern is not None
        search = given.pattern.search

        def test(view: View) -> bool:
            for subject in subjects(view):
                found = search(subject)
                if found is not None:
                    view.matched.append(found)
                    return True
            return False

        return test

    return build


def _header(given: Given) -> Predicate:
    name = given.texts[0].lower().encode("utf-8", "replace")
    if given.pattern is None:
        return lambda view: bool(view.header(name))
    return any_of(lambda view: view.header(name))(given)


def _listener(given: Given) -> Predicate:
    return lambda view: view.accepted.listener == given.text


def _remote_ip(given: Given) -> Predicate:
    block = parse_netblock(given.text)

    def test(view: View) -> bool:
        try:
            return block.contains(parse_address(view.accepted.remote_ip))
        except ValueError:
            return False

    return test


def number_of(measure: Callable[[View], int]) -> Callable[[Given], Predicate]:
    """Make a rule that compares a number."""

    def build(given: Given) -> Predicate:
        compare = _COMPARE[given.operator]
        return lambda view: compare(measure(view), given.number)

    return build


def _random(given: Given) -> Predicate:
    compare = _COMPARE[given.operator]
    sides = given.numbers[0]
    draw = random.SystemRandom().randrange
    return lambda _view: compare(draw(sides), given.number)


def _body_contains(given: Given) -> Predicate:
    pattern = given.patterns[0]
    wanted = given.numbers[0] if given.numbers else 1

    def test(view: View) -> bool:
        parts = view.parts()
        if parts.fault:
            return view.settings.unscannable_matches
        seen = 0
        for part in parts.leaves:
            for found in pattern.found(part.data):
                seen += 1
                if seen <= 5:
                    view.matched.append(found)
                if seen >= wanted:
                    return True
        return False

    return test


def _attachment_filename(given: Given) -> Predicate:
    names = any_of(
        lambda view: [part.filename.encode("utf-8", "replace") for part in view.parts().leaves if part.filename]
    )(given)

    def test(view: View) -> bool:
        if view.parts().fault:
            return view.settings.unscannable_matches
        return names(view)

    return test


RULES: dict[str, Spec] = {
    "true": Spec(_always),
    "valid": Spec(lambda _given: lambda view: not view.parts().fault, cost=50),
    "subject": Spec(_subject, "pattern", cost=3),
    "mail-from": Spec(any_of(lambda view: (view.accepted.sender.encode(),)), "pattern", cost=2),
    "rcpt-to": Spec(
        any_of(lambda view: [recipient.address.encode() for recipient in view.accepted.recipients]),
        "pattern",
        cost=4,
    ),
    "remote-ip": Spec(_remote_ip, "text", cost=2),
    "recv-listener": Spec(_listener, "text"),
    "sendergroup": Spec(any_of(lambda view: (view.accepted.sender_group.encode(),)), "pattern", cost=2),
    "header": Spec(_header, "pattern", ("text",), needed=1, value_optional=True, cost=3),
    "body-size": Spec(number_of(lambda view: view.accepted.size), "number"),
    "body-contains": Spec(_body_contains, "", ("pattern", "number"), needed=1, cost=100),
    "attachment-filename": Spec(_attachment_filename, "pattern", cost=60),
    "rcpt-count": Spec(number_of(lambda view: len(view.accepted.recipients)), "number"),
    "random": Spec(_random, "number", ("number",), needed=1),
}
RULE_NAMES = frozenset(RULES)
_PLAIN = {"text": "a quoted string", "pattern": "a quoted regular expression", "number": "a number"}


def compile_test(test: Condition, faults: Faults, rules: Mapping[str, Spec] = RULES) -> Compiled | None:
    """Check one test and make it ready; None after a fault."""
    spec = rules.get(test.name)
    if spec is None:
        faults.append(FilterFault(test.position, f"there is no rule '{test.name[:40]}'"))
        return None
    before = len(faults)
    arguments = test.arguments or ()
    check_arguments(test.name, test.position, arguments, spec.arguments, spec.needed, faults=faults)
    _check_value(test, spec, faults)
    given = None if len(faults) > before else _given(test, spec, arguments, faults)
    if given is None or len(faults) > before:
        return None
    run = spec.build(given)
    negated = given.operator == "!=" and spec.value != "number"
    return Compiled((lambda view: not run(view)) if negated else run, spec.cost)


def check_arguments(
    name: str, position: Position, arguments: Sequence[Value], kinds: tuple[str, ...], needed: int, *, faults: Faults
) -> None:
    """Check number and types of the arguments of a rule or an action."""
    if not needed <= len(arguments) <= len(kinds):
        wanted = str(needed) if needed == len(kinds) else f"{needed} to {len(kinds)}"
        wanted = "no arguments" if not kinds else f"{wanted} argument{'s' if len(kinds) > 1 else ''}"
        faults.append(FilterFault(position, f"{name} takes {wanted}, found {len(arguments)}"))
        return
    for value, kind in zip(arguments, kinds, strict=False):
        _check_kind(value, kind, f"the argument of {name}", faults)


def _check_kind(value: Value, kind: str, what: str, faults: Faults) -> None:
    if isinstance(value.content, int) != (kind == "number"):
        faults.append(FilterFault(value.position, f"{what} must be {_PLAIN[kind]}, found {value.raw[:40]}"))


def _check_value(test: Condition, spec: Spec, faults: Faults) -> None:
    if test.value is None:
        if spec.value and not spec.value_optional:
            example = "> 10" if spec.value == "number" else "== '…'"
            faults.append(FilterFault(test.position, f"{test.name} needs a comparison, such as {test.name} {example}"))
        return
    if not spec.value:
        faults.append(FilterFault(test.value.position, f"{test.name} is not compared with a value"))
        return
    if spec.value != "number" and test.operator not in _EQUAL:
        faults.append(FilterFault(test.position, f"{test.name} is compared with == or !=, found {test.operator}"))
    _check_kind(test.value, spec.value, f"the value of {test.name}", faults)


def _given(test: Condition, spec: Spec, arguments: Sequence[Value], faults: Faults) -> Given:
    numbers, texts, patterns = [], [], []
    for value, kind in zip(arguments, spec.arguments, strict=False):
        if isinstance(value.content, int):
            numbers.append(value.content)
            _check_number(test.name, value, faults)
        elif kind == "pattern":
            patterns.append(_pattern(value, faults))
        else:
            texts.append(value.content)
            if not value.content.strip():
                faults.append(FilterFault(value.position, f"the argument of {test.name} is empty"))
    number, text, pattern = 0, "", None
    if test.value is not None and isinstance(test.value.content, int):
        number = test.value.content
    elif test.value is not None and isinstance(test.value.content, str):
        text = test.value.content
        pattern = _pattern(test.value, faults) if spec.value == "pattern" else None
        _check_text(test, text, test.value.position, faults)
    good = tuple(found for found in patterns if found is not None)
    return Given(test.operator, tuple(numbers), tuple(texts), good, number, text, pattern)


def _check_number(name: str, value: Value, faults: Faults) -> None:
    if isinstance(value.content, int) and value.content < 1:
        faults.append(FilterFault(value.position, f"the number given to {name} must be 1 or more"))


def _check_text(test: Condition, text: str, position: Position, faults: Faults) -> None:
    if test.name == "remote-ip":
        try:
            parse_netblock(text)
        except ValueError as error:
            faults.append(FilterFault(position, str(error)))


def _pattern(value: Value, faults: Faults) -> Pattern | None:
    try:
        return compile_pattern(str(value.content))
    except RegexError as error:
        faults.append(FilterFault(value.at(error.offset), f"regular expression: {error.reason}"))
        return None
