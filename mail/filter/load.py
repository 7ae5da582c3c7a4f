"""The filters that are running: read from a file and from the configuration, replaced as a whole or not at all.

The gateway root opens them before any socket opens, the pipeline asks `program` for each message, the control verb
`reload_filters` calls `reload`. A broken new file never stops the filters that run.
"""

from dataclasses import dataclass
from pathlib import Path

from core.errors import ConfigError, Problem
from mail.filter.compiler import ANYWHERE, Around, Program, RunningFilter, compile_filters
from mail.filter.parser import MAX_TEXT
from mail.filter.syntax import FilterError


@dataclass(frozen=True, slots=True)
class FilterSource:
    """Where filters come from: a file, an inline text, or both in this order."""

    file: Path | None = None
    text: str = ""
    around: Around = ANYWHERE


class Filters:
    """Holds the running program."""

    def __init__(self, source: FilterSource) -> None:
        """Read and compile. Raises `ConfigError` with every fault as file, line and column."""
        self._source = source
        self.program, problems = _compiled(source)
        if problems:
            raise ConfigError(problems)

    def reload(self) -> list[Problem]:
        """Read again. On any fault all stays, and the faults are given back."""
        program, problems = _compiled(self._source)
        if not problems:
            self.program = program
        return problems

    def adopt(self, other: "Filters") -> None:
        """Become what another one is, for all that hold this one."""
        self._source, self.program = other._source, other.program


def _compiled(source: FilterSource) -> tuple[Program, list[Problem]]:
    filters: list[RunningFilter] = []
    problems: list[Problem] = []
    for name, text in _texts(source, problems):
        try:
            taken = [item.name for item in filters]
            filters += compile_filters(text, around=source.around, taken=taken).filters
        except FilterError as error:
            problems += [
                Problem(name, f"line {fault.position.line}, column {fault.position.column}", fault.reason)
                for fault in error.faults
            ]
    return Program(filters), problems


def _texts(source: FilterSource, problems: list[Problem]) -> list[tuple[str, str]]:
    texts = []
    if source.file is not None:
        try:
            with source.file.open(encoding="utf-8", newline=None) as file:
                texts.append((str(source.file), file.read(MAX_TEXT + 1)))
        except OSError as error:
            problems.append(Problem(str(source.file), "", f"cannot be read: {error.strerror}"))
        except UnicodeDecodeError:
            problems.append(Problem(str(source.file), "", "is not UTF-8 text"))
    if source.text:
        texts.append(("filters.text", source.text))
    return texts
