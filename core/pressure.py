"""How hard a resource is pressed, as a grade: 0 = not at all, 1 to 60 = so many seconds of delay, 999 = refuse.

Pure; whoever measures (mail/edge/conserve.py) brings the values. Between its start and its halt value a cause grades
linearly. To keep a value that trembles from switching things on and off, what has begun ends only a fifth of that
range (or of the start value, where that is less) below the point where it began, and a grade moves in steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

REFUSE: Final = 999
LONGEST_S: Final = 60
STEP: Final = 5
"""A grade that moves less than this stays where it is."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One resource and where it begins to be pressed; start = halt = 0 switches it off."""

    name: str
    start: float
    halt: float
    unit: str = "%"

    @property
    def margin(self) -> float:
        """How far below a threshold a value must fall to undo it."""
        return min(self.halt - self.start, self.start) / 5

    def grade(self, value: float, before: int) -> int:
        """Grade a value, given the grade before."""
        if not self.halt:
            return 0
        if value >= self.halt or (before == REFUSE and value > self.halt - self.margin):
            return REFUSE
        if value > self.start or (before and value > self.start - self.margin):
            part = (value - self.start) / (self.halt - self.start)
            return _stepped(max(1, min(LONGEST_S, round(LONGEST_S * part))), before)
        return 0


def _stepped(wanted: int, before: int) -> int:
    return before if 0 < before < REFUSE and abs(wanted - before) < STEP else wanted


@dataclass(frozen=True, slots=True)
class Change:
    """The grade has changed."""

    before: int
    grade: int
    cause: Cause
    """What presses hardest; when all is well again, what did."""
    value: float

    def __str__(self) -> str:
        shown = {0: "off", REFUSE: "refusing mail"}
        old, new = (shown.get(one, f"{one} s of delay") for one in (self.before, self.grade))
        cause = self.cause
        return f"{old} -> {new}: {cause.name} {self.value:.1f} {cause.unit} (from {cause.start:g} to {cause.halt:g})"


class Pressure:
    """All causes together: the hardest pressed counts."""

    def __init__(self, causes: Sequence[Cause]) -> None:
        self.grade = 0
        self._causes = tuple(causes)
        self._grades = {cause.name: 0 for cause in causes}
        self._worst = self._causes[0]

    @property
    def worst(self) -> str:
        """The name of what presses hardest, or did last."""
        return self._worst.name

    def shares(self, values: Mapping[str, float]) -> dict[str, float]:
        """Give how far each cause is on its way to its halt value, where 1 is; what is switched off is left out."""
        return {one.name: values[one.name] / one.halt for one in self._causes if one.halt and one.name in values}

    def follow(self, causes: Sequence[Cause]) -> None:
        """Judge by other thresholds; the grades that the same causes have now stay until the next values."""
        self._causes = tuple(causes)
        self._grades = {cause.name: self._grades.get(cause.name, 0) for cause in causes}
        self._worst = next((cause for cause in causes if cause.name == self._worst.name), self._causes[0])

    def judge(self, values: Mapping[str, float]) -> Change | None:
        """Take the values by name of cause, and tell of a change; a value that is missing leaves its grade."""
        for cause in self._causes:
            if cause.name in values:
                self._grades[cause.name] = cause.grade(values[cause.name], self._grades[cause.name])
        worst = max(self._causes, key=lambda cause: self._grades[cause.name])
        grade, before = self._grades[worst.name], self.grade
        if grade == before:
            return None
        if grade:
            self._worst = worst
        self.grade = grade
        return Change(before, grade, self._worst, values.get(self._worst.name, 0.0))
