"""What is remembered of log-ins, on disk: locks, spent one-time codes, and the record that `last` shows.

One SQLite database, `state/access.db`, for the console and the web side of a machine; both may write at the same time.
Bounded: the oldest rows make room. Knows no password, not even a hash. Raises `DatabaseError`; logs nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from core.database import Row, Schema
from core.lockout import Lockout, Standing
from core.sqlite import Database

KEPT: Final = 2000
"""Rows of the record that are kept of those who got in, and as many of those who did not."""
LOCKS: Final = 5000
SPENT: Final = 200
"""Spent recovery codes of one user; he has ten at a time."""
TOGETHER_S: Final = 600.0
"""Failures of the same kind within this time are one row with a count."""

SCHEMA: Final = Schema(
    "access",
    1,
    """
    CREATE TABLE login (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, source TEXT NOT NULL, front TEXT NOT NULL,
        way TEXT NOT NULL, at REAL NOT NULL, ended_at REAL, good INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '',
        count INTEGER NOT NULL DEFAULT 1
    );
    CREATE INDEX login_name ON login (name, good, id);
    CREATE TABLE lock (
        key TEXT PRIMARY KEY, level REAL NOT NULL, at REAL NOT NULL, until REAL NOT NULL, locks INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE step (name TEXT PRIMARY KEY, step INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE spent (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, code TEXT NOT NULL);
    CREATE UNIQUE INDEX spent_code ON spent (name, code);
    """,
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who tries to log in, from where, at which door."""

    name: str
    source: str
    front: str
    """`cli` or `web`."""
    at: float


def standings(database: Database, keys: Sequence[str]) -> list[tuple[str, Standing]]:
    """Give what is kept of these keys."""
    rows = [database.first("SELECT key, level, at, until, locks FROM lock WHERE key = ?", (key,)) for key in keys]
    return [_standing(row) for row in rows if row is not None]


def locks(database: Database, now: float) -> list[tuple[str, float]]:
    """Give every key that is locked now, and until when."""
    rows = database.query("SELECT key, until FROM lock WHERE until > ? ORDER BY key", (now,))
    return [(str(key), float(until)) for key, until in rows]  # type: ignore[arg-type]


def count_failure(
    database: Database, counts: Sequence[tuple[str, Callable[[], Lockout]]], attempt: Attempt, way: str, reason: str
) -> list[str]:
    """Count a failure of each key by its own rule and write it down; gives the keys that are locked by it."""
    locked = []
    for key, make in counts:
        lockout = make()
        lockout.put(standings(database, [key]))
        if lockout.fail(key):
            locked.append(key)
        for name, one in lockout.rows():
            database.query(
                "INSERT OR REPLACE INTO lock (key, level, at, until, locks) VALUES (?, ?, ?, ?, ?)",
                (name, one.level, one.at, one.until, one.locks),
            )
    (count,) = database.first("SELECT count(*) FROM lock") or (0,)
    if isinstance(count, int) and count > LOCKS:
        oldest = "DELETE FROM lock WHERE key IN (SELECT key FROM lock ORDER BY max(at, until) LIMIT ?)"
        database.query(oldest, (count - LOCKS,))
    note_failure(database, attempt, way, reason)
    return locked


def note_failure(database: Database, attempt: Attempt, way: str, reason: str) -> None:
    """Write a failed log-in down; what is like the one before is counted with it."""
    row = database.first(
        "SELECT id FROM login WHERE name = ? AND source = ? AND front = ? AND way = ? AND reason = ?"
        " AND NOT good AND at > ? ORDER BY id DESC LIMIT 1",
        (attempt.name, attempt.source, attempt.front, way, reason, attempt.at - TOGETHER_S),
    )
    if row is not None:
        database.query("UPDATE login SET count = count + 1, ended_at = ? WHERE id = ?", (attempt.at, row[0]))
        return
    _insert(database, attempt, way, good=False, reason=reason)


def open_login(database: Database, attempt: Attempt, way: str) -> tuple[int, dict[str, Any]]:
    """Write down who is in; gives the row's number, and the log-in before with the failures since then."""
    before = database.first(
        "SELECT id, at, source, way FROM login WHERE name = ? AND good AND front = ? ORDER BY id DESC LIMIT 1",
        (attempt.name, attempt.front),
    )
    (failures,) = database.first(
        "SELECT coalesce(sum(count), 0) FROM login WHERE name = ? AND NOT good AND id > ?",
        (attempt.name, before[0] if before is not None else 0),
    ) or (0,)
    number = _insert(database, attempt, way, good=True)
    facts = {"at": before[1], "source": before[2], "way": before[3]} if before is not None else {}
    return number, {**facts, "failures": failures}


def _insert(database: Database, attempt: Attempt, way: str, *, good: bool, reason: str = "") -> int:
    values = (attempt.name, attempt.source, attempt.front, way, attempt.at, int(good), reason)
    rows = database.query(
        "INSERT INTO login (name, source, front, way, at, good, reason) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        values,
    )
    surplus = "DELETE FROM login WHERE id IN (SELECT id FROM login WHERE good = ? ORDER BY id DESC LIMIT -1 OFFSET ?)"
    database.query(surplus, (int(good), KEPT))
    number = rows[0][0]
    assert isinstance(number, int)
    return number


def close_login(database: Database, number: int, at: float) -> None:
    """Write down when somebody left."""
    database.query("UPDATE login SET ended_at = ? WHERE id = ? AND ended_at IS NULL", (at, number))


def interrupt(database: Database, front: str) -> None:
    """Write down that this front ended with all who were in: nobody noted when each left."""
    reason = "ended with the daemon"
    database.query("UPDATE login SET reason = ? WHERE good AND ended_at IS NULL AND front = ?", (reason, front))


def history(database: Database, limit: int, *, good: bool | None, name: str = "") -> list[dict[str, Any]]:
    """Give the record, newest first."""
    rows = database.query(
        "SELECT id, name, source, front, way, at, ended_at, good, reason, count FROM login"
        " WHERE (?1 IS NULL OR good = ?1) AND (?2 = '' OR name = ?2) ORDER BY id DESC LIMIT ?3",
        (None if good is None else int(good), name, limit),
    )
    keys = ("id", "user", "source", "front", "way", "at", "ended_at", "good", "reason", "count")
    found = [dict(zip(keys, row, strict=True)) for row in rows]
    return [{**one, "id": str(one["id"]), "good": bool(one["good"])} for one in found]


def was_here(database: Database, name: str, source: str) -> bool:
    """Tell whether this user has logged in from there before, as far as is known."""
    row = database.first("SELECT 1 FROM login WHERE name = ? AND good AND source = ? LIMIT 1", (name, source))
    return row is not None


def spend_step(database: Database, name: str, step: int) -> bool:
    """Take the code of a time step; False if it, or a later one, was taken before."""
    row = database.first("SELECT step FROM step WHERE name = ?", (name,))
    if row is not None and isinstance(row[0], int) and row[0] >= step:
        return False
    database.query("INSERT OR REPLACE INTO step (name, step) VALUES (?, ?)", (name, step))
    return True


def spend_code(database: Database, name: str, code: str) -> bool:
    """Take a recovery code by its digest; False if it was taken before."""
    database.query("INSERT OR IGNORE INTO spent (name, code) VALUES (?, ?)", (name, code))
    if not database.changed:
        return False
    surplus = "DELETE FROM spent WHERE id IN (SELECT id FROM spent WHERE name = ? ORDER BY id DESC LIMIT -1 OFFSET ?)"
    database.query(surplus, (name, SPENT))
    return True


def unlock(database: Database, keys: Sequence[str]) -> list[str]:
    """Forget the failures of keys; gives those that had any."""
    found = [key for key in keys if standings(database, [key])]
    for key in found:
        database.query("DELETE FROM lock WHERE key = ?", (key,))
    return found


def _standing(row: Row) -> tuple[str, Standing]:
    key, level, at, until, count = row
    return str(key), Standing(float(level), float(at), float(until), int(count))  # type: ignore[arg-type]
