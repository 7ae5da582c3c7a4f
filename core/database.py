"""Databases: what SQLite (`core/sqlite.py`) and PostgreSQL (`core/postgresql.py`) have in common.

A store that runs on both writes its work once, as a generator: it yields statements, gets their rows, and returns
its result. It does no I/O and may be run again from the beginning, so it draws nothing by lot and reads no clock.
Statements hold to what both databases understand; their values are `$1`, `$2`, …

Used by the adapters and by `store` modules. Raises nothing but the errors that are declared here.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from core.errors import EX_CONFIG, GatepostError
from core.format import Layout, too_new

Value = None | int | float | bytes | str
Row = tuple[Value, ...]
T = TypeVar("T")
Statement = tuple[str, tuple[Value, ...]]
Work = Generator[Statement, list[Row], T]


def insert(table: str, columns: Iterable[str], how: str = "INSERT") -> str:
    """Give the statement that writes one row. It names the columns: a newer release may have added one."""
    names = tuple(columns)
    return f"{how} INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


class DatabaseError(GatepostError):
    """The database could not do what was asked: full disk, damaged file, I/O error."""


class DatabaseAway(DatabaseError):
    """The database does not answer; what was asked may be asked again later."""


class DatabaseBusy(DatabaseError):
    """Another process held the database for longer than the busy time-out; nothing was changed."""


class ConstraintFailed(DatabaseError):
    """A row breaks a UNIQUE, CHECK, NOT NULL or FOREIGN KEY rule; nothing was changed."""


class SchemaRefused(DatabaseError):
    """The database belongs to something else, or to a release that this one cannot share it with."""


@dataclass(frozen=True)
class Schema:
    """What a store expects of its database.

    `version` is the layout that this release writes; `compatible` the oldest `version` of a release that may
    still use a database of this layout (a release opens one whose `compatible` is at most its own `version`).
    `create` builds an empty one at `version`; `upgrades[n]` is the script that takes it from n to n + 1.
    """

    name: str
    version: int
    create: str
    compatible: int = 1
    upgrades: Mapping[int, str] = field(default_factory=dict)

    def scripts(self, where: str, version: int, compatible: int) -> list[str]:
        """Give the scripts that bring a database of layout `version` to this one. Raises `SchemaRefused`."""
        if refusal := too_new(where, Layout(version, compatible), self.version):
            raise SchemaRefused(refusal, EX_CONFIG)
        missing = [step for step in range(version, self.version) if step not in self.upgrades]
        if missing:
            raise SchemaRefused(f"{where}: layout {missing[0]} is too old to be upgraded", EX_CONFIG)
        return [self.upgrades[step] for step in range(version, self.version)]
