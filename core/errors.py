"""Errors that a daemon or a command ends with, and the exit statuses of sysexits.h.

Errors that are answered to an SMTP peer live in `protocol/errors.py`; these here are for operators.
"""

from collections.abc import Sequence
from dataclasses import dataclass

EX_OK = 0
EX_USAGE = 64
EX_DATAERR = 65
EX_NOINPUT = 66
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_OSERR = 71
EX_CANTCREAT = 73
EX_IOERR = 74
EX_TEMPFAIL = 75
EX_NOPERM = 77
EX_CONFIG = 78


class GatepostError(Exception):
    """An error with one line for the operator and the exit status that goes with it."""

    def __init__(self, text: str, status: int = EX_SOFTWARE) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration: which file, which key, why, and what to do."""

    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.reason}"


class ConfigError(GatepostError):
    """A configuration that cannot be used; carries every problem found, not the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems), EX_CONFIG)
        self.problems = tuple(problems)
