"""Reads filter text: characters to tokens to the shapes of `syntax`, by the grammar in grammar.lark.

The one module that imports lark. A file is cut into filters at every `name:` so that one fault does not hide the
next: each filter is parsed on its own and each contributes at most one syntax fault. Called by `compiler`.
Never raises on what is in the text.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any as Anything
from typing import NamedTuple

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from mail.filter.syntax import (
    Action,
    All,
    Any,
    Branch,
    Condition,
    Filter,
    FilterFault,
    Not,
    Parsed,
    Position,
    Rule,
    Statement,
    Value,
)

MAX_TEXT = 1 << 20
MAX_NESTING = 60
RESERVED = frozenset({"if", "else", "and", "or", "not"})

_WORDS = {
    "NAME": "a name",
    "STRING": "a quoted string",
    "NUMBER": "a number",
    "OP": "a comparison (==, !=, <, <=, >, >=)",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COLON": "':'",
    "SEMICOLON": "';'",
    "COMMA": "','",
    "IF": "'if'",
    "ELSE": "'else'",
    "NOT": "'not'",
    "OPERATOR": "an operator ('and', 'or')",
    "$END": "the end of the filter",
}
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_SCALE = {"K": 1 << 10, "M": 1 << 20}


@cache
def _lark() -> Lark:
    grammar = files("mail.filter").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, parser="lalr", lexer="basic", start=["start", "never"], keep_all_tokens=True, maybe_placeholders=False
    )


def parse(text: str) -> Parsed:
    """Read a whole file: the filters that could be read and the faults of the others."""
    if len(text) > MAX_TEXT:
        return Parsed(faults=[FilterFault(Position(1, 1), f"the text is longer than {MAX_TEXT} characters")])
    tokens = list(_lark().lex(text))
    end = _end_of(text)
    parsed = Parsed()
    starts = [i for i in range(len(tokens) - 1) if tokens[i].type == "NAME" and tokens[i + 1].type in _AFTER_NAME]
    if tokens and (not starts or starts[0] > 0):
        parsed.faults.append(_no_filter(tokens))
    for number, start in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else len(tokens)
        _parse_one(tokens[start:stop], tokens[stop] if stop < len(tokens) else None, end, parsed)
    return parsed


_AFTER_NAME = ("COLON", "BANG")


def _end_of(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _position(token: Token) -> Position:
    return Position(token.line or 1, token.column or 1)


def _no_filter(tokens: list[Token]) -> FilterFault:
    first = tokens[0]
    if first.type == "NAME" and len(tokens) > 1:
        return FilterFault(
            _position(tokens[1]), f"expected ':' after the filter name '{first}', found {_shown(tokens[1])}"
        )
    return FilterFault(_position(first), f"expected a filter name and ':', found {_shown(first)}")


def _parse_one(tokens: list[Token], following: Token | None, end: Position, parsed: Parsed) -> None:
    fault = _nesting_fault(tokens)
    if fault is not None:
        parsed.faults.append(fault)
        return
    machine: Anything = _lark().parse_interactive(start="start")
    for token in tokens:
        try:
            machine.feed_token(token)
        except UnexpectedInput:
            parsed.faults.append(FilterFault(_position(token), _unexpected(machine.accepts(), token)))
            return
    try:
        tree = machine.feed_eof(tokens[-1])
    except UnexpectedInput:
        where = _position(following) if following is not None else end
        found = f"the next filter '{following}'" if following is not None else "the end of the text"
        parsed.faults.append(FilterFault(where, f"expected {_wanted(machine.accepts())}, found {found}"))
        return
    parsed.filters.append(_filter(tree))


def _nesting_fault(tokens: list[Token]) -> FilterFault | None:
    """Refuse what would nest too deep for the steps that walk the tree."""
    depth = negations = 0
    previous = ""
    for token in tokens:
        depth += (token.type in ("LPAR", "LBRACE")) - (token.type in ("RPAR", "RBRACE"))
        depth += previous == "ELSE" and token.type == "IF"
        negations = negations + 1 if token.type == "NOT" else 0
        if depth + negations > MAX_NESTING:
            return FilterFault(_position(token), f"nested deeper than {MAX_NESTING} levels")
        previous = token.type
    return None


def _unexpected(accepts: set[str], token: Token) -> str:
    if token.type == "OPENSTRING":
        return f"this string is not closed: {_clip(token)}"
    return f"expected {_wanted(accepts)}, found {_shown(token)}"


def _shown(token: Token) -> str:
    return f"{_clip(token)}" if token.type in ("STRING", "OPENSTRING") else f"'{_clip(token)}'"


def _clip(text: str) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text[:40])
    return shown + ("…" if len(text) > 40 else "")


def _wanted(accepts: set[str]) -> str:
    kinds = set(accepts)
    if kinds & {"AND", "OR"}:
        kinds = (kinds - {"AND", "OR"}) | {"OPERATOR"}
    words = [text for kind, text in _WORDS.items() if kind in kinds]
    if "NOT" in kinds:
        words = ["a rule"]
    elif "RBRACE" in kinds and "NAME" in kinds:
        words = ["an action", "'if'", "'}'"]
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else "something else"


def _filter(tree: "Tree[Token]") -> Filter:
    name, mark, branch = tree.children
    assert isinstance(name, Token)
    assert isinstance(mark, Token)
    assert isinstance(branch, Tree)
    return Filter(_position(name), str(name), _branch(branch), active=mark.type == "COLON")


def _trees(tree: "Tree[Token]") -> "Iterator[Tree[Token]]":
    return (child for child in tree.children if isinstance(child, Tree))


def _branch(tree: "Tree[Token]") -> Branch:
    rule, then, *rest = _trees(tree)
    otherwise: tuple[Statement, ...] = ()
    if rest:
        otherwise = (_branch(rest[0]),) if rest[0].data == "branch" else _block(rest[0])
    return Branch(_rule(rule), _block(then), otherwise)


def _block(tree: "Tree[Token]") -> tuple[Statement, ...]:
    return tuple(_branch(child) if child.data == "branch" else _action(child) for child in _trees(tree))


def _action(tree: "Tree[Token]") -> Action:
    name = tree.children[0]
    assert isinstance(name, Token)
    return Action(_position(name), str(name).lower(), _values(tree.children[1:]))


def _rule(tree: "Tree[Token]") -> Rule:
    if tree.data == "test":
        return _test(tree)
    inner = [_rule(child) for child in _trees(tree)]
    if tree.data == "negate":
        return Not(inner[0])
    if tree.data == "group":
        return inner[0]
    return All(tuple(inner)) if tree.data == "all" else Any(tuple(inner))


def _test(tree: "Tree[Token]") -> Condition:
    name = tree.children[0]
    assert isinstance(name, Token)
    given = next(_trees(tree), None)
    operator = next((child for child in tree.children[1:] if isinstance(child, Token) and child.type == "OP"), "")
    values = _values(tree.children[1:])
    return Condition(
        _position(name),
        str(name).lower(),
        None if given is None else _values(given.children),
        str(operator),
        values[0] if values else None,
    )


def _values(children: "list[Anything]") -> tuple[Value, ...]:
    return tuple(_value(child) for child in children if isinstance(child, Token) and child.type in ("STRING", "NUMBER"))


def _value(token: Token) -> Value:
    if token.type == "STRING":
        return Value(_position(token), _unescaped(token[1:-1]), str(token))
    scale = _SCALE.get(token[-1].upper())
    return Value(_position(token), int(token[:-1]) * scale if scale else int(token), str(token))


def _unescaped(text: str) -> str:
    """Undo `\\\\`, `\\"` and `\\'`; any other backslash stands for itself, so that regexes stay readable."""
    out = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] in ("\\", '"', "'"):
            at += 1
        out.append(text[at])
        at += 1
    return "".join(out)


class Outlined(NamedTuple):
    """Where one filter stands in a text, as offsets; whether it can be compiled is not looked at."""

    name: str
    active: bool
    mark: int
    """The colon, or exclamation mark, behind its name."""
    start: int
    """With the comments above it."""
    end: int
    """Behind its last line."""


def outline(text: str) -> list[Outlined]:
    """Cut a text into its filters. What stands behind the last one belongs to none."""
    tokens = list(_lark().lex(text)) if len(text) <= MAX_TEXT else []
    starts = [i for i in range(len(tokens) - 1) if tokens[i].type == "NAME" and tokens[i + 1].type in _AFTER_NAME]
    found: list[Outlined] = []
    before = 0
    for number, start in enumerate(starts):
        stop = starts[number + 1] if number + 1 < len(starts) else len(tokens)
        end = _line_end(text, tokens[stop - 1].end_pos or 0)
        mark = tokens[start + 1]
        found.append(Outlined(str(tokens[start]), mark.type == "COLON", mark.start_pos or 0, before, end))
        before = end
    return found


def _line_end(text: str, at: int) -> int:
    """Give the end of the line if nothing but a comment is left on it."""
    found = _REST.match(text, at)
    return found.end() if found is not None else at
