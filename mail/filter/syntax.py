"""The shape of filters as written: what the parser gives and the compiler takes. Faults carry their position."""

from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where something stands in the text; both count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, order=True)
class FilterFault:
    """One thing that is wrong with a filter file."""

    position: Position
    reason: str

    def __str__(self) -> str:
        return f"line {self.position.line}, column {self.position.column}: {self.reason}"


class FilterError(Exception):
    """A filter file that cannot be used, with all that is wrong with it, in order of position."""

    def __init__(self, faults: list[FilterFault]) -> None:
        self.faults = tuple(sorted(faults))
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Value:
    """A literal. `raw` keeps the text as written, to find the column of an offset within a string."""

    position: Position
    content: str | int
    raw: str = ""

    def at(self, offset: int) -> Position:
        """Give the position of a character of the unescaped string."""
        column = 1
        while offset > 0 and column < len(self.raw) - 1:
            column += 2 if self.raw[column] == "\\" and self.raw[column + 1] in "\\\"'" else 1
            offset -= 1
        return Position(self.position.line, self.position.column + column)


@dataclass(frozen=True, slots=True)
class Condition:
    """`name`, `name op value`, `name(arguments)`, `name(arguments) op value`."""

    position: Position
    name: str
    arguments: tuple[Value, ...] | None
    operator: str = ""
    value: Value | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """`not rule`."""

    rule: "Rule"


@dataclass(frozen=True, slots=True)
class All:
    """`rule and rule …`."""

    rules: tuple["Rule", ...]


@dataclass(frozen=True, slots=True)
class Any:
    """`rule or rule …`."""

    rules: tuple["Rule", ...]


Rule: TypeAlias = Condition | Not | All | Any


@dataclass(frozen=True, slots=True)
class Action:
    """`name(arguments);`."""

    position: Position
    name: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Branch:
    """`if rule { … } else { … }`."""

    rule: Rule
    then: tuple["Statement", ...]
    otherwise: tuple["Statement", ...] = ()


Statement: TypeAlias = Action | Branch


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter of a file."""

    position: Position
    name: str
    branch: Branch
    active: bool = True


@dataclass(slots=True)
class Parsed:
    """All filters of a file that could be read, and the faults of the others."""

    filters: list[Filter] = field(default_factory=list)
    faults: list[FilterFault] = field(default_factory=list)
