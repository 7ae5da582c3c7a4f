"""Counts by destination in the queue's index: one row for each destination that has any. All SQL of them.

Called in the database's thread, by the checkpoint (inside its transaction) and at the start. Raises
`core.sqlite.DatabaseError`.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, cast

from core.database import insert
from core.sqlite import Database

MOST_ROWS = 100_000
"""Rows that are kept; beyond it those go whose destinations have been quiet longest."""

TABLE = """
CREATE TABLE tally (
    destination TEXT NOT NULL,
    target TEXT NOT NULL,
    active_at REAL NOT NULL,
    soft_bounced INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    hard_bounced TEXT NOT NULL,
    PRIMARY KEY (destination, target)
) WITHOUT ROWID;
"""


class TallyRow(NamedTuple):
    """The counts of one destination since the last `resetcounters`."""

    destination: str
    target: str
    active_at: float
    """When anything last happened to it."""
    soft_bounced: int
    delivered: int
    deleted: int
    hard_bounced: str
    """`kind=n` for each kind, separated by blanks."""


_ALL = f"SELECT {', '.join(TallyRow._fields)} FROM tally"  # noqa: S608 - our names
_INSERT = insert("tally", TallyRow._fields, "INSERT OR REPLACE")


@dataclass(slots=True)
class Tallied:
    """What one checkpoint writes of the counts."""

    wipe: bool = False
    """All counts were set to zero before the others of this change."""
    gone: list[tuple[str, str]] = field(default_factory=list)
    rows: list[TallyRow] = field(default_factory=list)


def write(database: Database, tallied: Tallied, most: int = MOST_ROWS) -> None:
    """Carry out what a checkpoint says of the counts."""
    if tallied.wipe:
        database.query("DELETE FROM tally")
    if tallied.gone:
        database.many("DELETE FROM tally WHERE destination = ? AND target = ?", tallied.gone)
    if not tallied.rows:
        return
    database.many(_INSERT, tallied.rows)
    row = database.first("SELECT COUNT(*) FROM tally")
    assert row is not None
    excess = cast(int, row[0]) - most
    if excess > 0:
        database.query(
            "DELETE FROM tally WHERE (destination, target) IN"
            " (SELECT destination, target FROM tally ORDER BY active_at LIMIT ?)",
            (excess,),
        )


def tallies(database: Database) -> list[TallyRow]:
    """Give all counts, those of the destinations that were active last first."""
    rows = database.query(_ALL + " ORDER BY active_at DESC")
    return [TallyRow(*row) for row in rows]  # type: ignore[arg-type]
