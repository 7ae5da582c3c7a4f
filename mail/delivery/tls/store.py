"""The database of outbound TLS: MTA-STS policies, and what is counted for reports. All the SQL of both.

Called through `core.sqlite.DatabaseThread` by `sts.py`, `tally.py` and `report.py`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from core.sqlite import Database, Schema

SCHEMA = Schema(
    "delivery-tls",
    1,
    """
    CREATE TABLE sts (
        domain TEXT PRIMARY KEY, id TEXT NOT NULL, document BLOB NOT NULL, fetched_at REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE session (
        day TEXT NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL, policy TEXT NOT NULL, good INTEGER NOT NULL,
        PRIMARY KEY (day, domain, kind)
    ) WITHOUT ROWID;
    CREATE TABLE failure (
        day TEXT NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL, result TEXT NOT NULL, host TEXT NOT NULL,
        address TEXT NOT NULL, reason TEXT NOT NULL, failed INTEGER NOT NULL,
        PRIMARY KEY (day, domain, kind, result, host, address, reason)
    ) WITHOUT ROWID;
    CREATE TABLE reported (day TEXT NOT NULL, domain TEXT NOT NULL, PRIMARY KEY (day, domain)) WITHOUT ROWID;
    """,
)
MOST_POLICIES = 100_000
MOST_DETAILS = 50
"""Different failures of one domain on one day that are told apart."""

_OF = "WHERE (? = '' OR day = ?) AND (? = '' OR domain = ?) ORDER BY"
_FAILURES = f"SELECT day, domain, kind, result, host, address, reason, failed FROM failure {_OF} failed DESC"  # noqa: S608
_SESSIONS = f"SELECT day, domain, kind, policy, good FROM session {_OF} day, domain, kind"  # noqa: S608


class StoredPolicy(NamedTuple):
    """A policy as it was fetched."""

    domain: str
    id: str
    document: bytes
    fetched_at: float


class Key(NamedTuple):
    """What sessions are counted by."""

    day: str
    """`2026-11-22`, UTC."""
    domain: str
    kind: str
    """`tlsa`, `sts` or `no-policy-found`."""


class Detail(NamedTuple):
    """One way in which sessions failed."""

    result: str
    host: str
    address: str
    reason: str


class Row(NamedTuple):
    """What was counted."""

    key: Key
    policy: str
    """JSON of RFC 8460 4.2 without type and domain."""
    good: int
    failures: list[tuple[Detail, int]]


def policies(database: Database) -> list[StoredPolicy]:
    """Give all policies, oldest first."""
    rows = database.query(
        "SELECT domain, id, document, fetched_at FROM sts ORDER BY fetched_at LIMIT ?", (MOST_POLICIES,)
    )
    return [StoredPolicy(*row) for row in rows]  # type: ignore[arg-type]


def put_policy(database: Database, policy: StoredPolicy) -> None:
    """Keep a policy in the place of the domain's older one."""
    database.query("INSERT OR REPLACE INTO sts (domain, id, document, fetched_at) VALUES (?, ?, ?, ?)", policy)


def drop_policy(database: Database, domain: str) -> None:
    """Forget a domain's policy."""
    database.query("DELETE FROM sts WHERE domain = ?", (domain,))


def count(database: Database, good: Mapping[Key, tuple[str, int]], failed: Mapping[tuple[Key, Detail], int]) -> None:
    """Add to what is counted."""
    database.many(
        "INSERT INTO session (day, domain, kind, policy, good) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
        " SET good = good + excluded.good, policy = excluded.policy",
        [(*key, policy, number) for key, (policy, number) in good.items()],
    )
    for (key, detail), number in failed.items():
        known = database.first(
            "SELECT count(*), sum(result = ? AND host = ? AND address = ? AND reason = ?) FROM failure"
            " WHERE day = ? AND domain = ? AND kind = ?",
            (*detail, *key),
        )
        full = known is not None and int(known[0] or 0) >= MOST_DETAILS and not known[1]
        kept = Detail(detail.result, "", "", "") if full else detail
        database.query(
            "INSERT INTO failure (day, domain, kind, result, host, address, reason, failed)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET failed = failed + excluded.failed",
            (*key, *kept, number),
        )


def counted(database: Database, day: str = "", domain: str = "") -> list[Row]:
    """Give what was counted, of a day or of all, of a domain or of all."""
    which = (day, day, domain, domain)
    failures: dict[Key, list[tuple[Detail, int]]] = {}
    for row in database.query(_FAILURES, which):
        failures.setdefault(Key(*row[:3]), []).append((Detail(*row[3:7]), row[7]))  # type: ignore[arg-type]
    rows = database.query(_SESSIONS, which)
    return [
        Row(Key(*row[:3]), str(row[3]), int(row[4] or 0), failures.get(Key(*row[:3]), []))  # type: ignore[arg-type]
        for row in rows
    ]


def unreported(database: Database, before: str) -> list[tuple[str, str]]:
    """Give (day, domain) of the days before one whose report is not done."""
    rows = database.query(
        "SELECT DISTINCT day, domain FROM session WHERE day < ? EXCEPT SELECT day, domain FROM reported", (before,)
    )
    return [(str(day), str(domain)) for day, domain in rows]


def mark_reported(database: Database, day: str, domain: str) -> None:
    """Note that a report is done, or that nobody wants one."""
    database.query("INSERT OR IGNORE INTO reported (day, domain) VALUES (?, ?)", (day, domain))


def forget_before(database: Database, day: str) -> None:
    """Drop what was counted before a day."""
    database.query("DELETE FROM session WHERE day < ?", (day,))
    database.query("DELETE FROM failure WHERE day < ?", (day,))
    database.query("DELETE FROM reported WHERE day < ?", (day,))
