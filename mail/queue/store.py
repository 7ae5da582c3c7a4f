"""The queue's index in SQLite: what is not finished, by message and by destination. All SQL of the queue is here.

Called in the database's thread by the checkpoint, the loader, the reclaimer and the views, always with the
`Database` first. Functions that change something expect to run inside a transaction. Rows go in and out as plain
tuples and the records below; no message object is known here. Raises `core.sqlite.DatabaseError`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from core.database import insert
from core.sqlite import Database, Row, Schema, Value
from mail.queue.tally import store as tally
from mail.queue.tally.store import Tallied

_DOMAIN = "lower(replace(sender, rtrim(sender, replace(sender, '@', '')), ''))"
"""What stands behind the last `@` of a sender: `rtrim` takes away all that is not one."""

UNCHECKED = -1
"""`documents_crc` of rows that an older release wrote."""

SCHEMA = Schema(
    "queue",
    4,
    """
    CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO state VALUES ('epoch', 0);
    CREATE TABLE position (
        journal TEXT PRIMARY KEY, generation INTEGER NOT NULL, offset INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE message (
        mid INTEGER PRIMARY KEY,
        sender TEXT NOT NULL,
        accepted BLOB NOT NULL,
        outcome BLOB NOT NULL,
        journal TEXT NOT NULL,
        generation INTEGER NOT NULL,
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        review_at REAL NOT NULL DEFAULT 0,
        documents_crc INTEGER NOT NULL DEFAULT -1
    );
    CREATE INDEX message_segment ON message (journal, generation);
    CREATE INDEX message_review ON message (review_at);
    CREATE TABLE recipient (
        mid INTEGER NOT NULL,
        rid INTEGER NOT NULL,
        bucket INTEGER NOT NULL CHECK (bucket BETWEEN 0 AND 255),
        destination TEXT NOT NULL,
        target TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at REAL NOT NULL,
        last_reply TEXT NOT NULL,
        host_level INTEGER NOT NULL,
        warned INTEGER NOT NULL DEFAULT 0,
        flow INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (mid, rid)
    ) WITHOUT ROWID;
    CREATE INDEX recipient_due ON recipient (destination, target, next_attempt_at, mid, attempts, host_level);
    CREATE INDEX recipient_fair ON recipient (destination, target, flow, next_attempt_at, mid);
    CREATE INDEX message_sender ON message (lower(sender));
    CREATE INDEX message_sender_domain ON message (
        lower(replace(sender, rtrim(sender, replace(sender, '@', '')), ''))
    );
    """  # noqa: S608 - our own text
    + tally.TABLE,
    compatible=4,
    upgrades={
        1: """
        ALTER TABLE message ADD COLUMN review_at REAL NOT NULL DEFAULT 0;
        ALTER TABLE recipient ADD COLUMN warned INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE recipient ADD COLUMN flow INTEGER NOT NULL DEFAULT 0;
        DROP INDEX recipient_due;
        CREATE INDEX recipient_due ON recipient (destination, target, next_attempt_at, mid, attempts, host_level);
        CREATE INDEX recipient_fair ON recipient (destination, target, flow, next_attempt_at, mid);
        CREATE INDEX message_review ON message (review_at);
        CREATE INDEX message_sender ON message (lower(sender));
        CREATE INDEX message_sender_domain ON message (
            lower(replace(sender, rtrim(sender, replace(sender, '@', '')), ''))
        );
        """,
        2: tally.TABLE,
        3: "ALTER TABLE message ADD COLUMN documents_crc INTEGER NOT NULL DEFAULT -1;",
    },
)


class MessageRow(NamedTuple):
    """One row of `message`."""

    mid: int
    sender: str
    accepted: bytes
    outcome: bytes
    journal: str
    generation: int
    kind: str
    name: str
    offset: int
    length: int
    crc: int
    review_at: float = 0.0
    """When expiry or a delay warning is to be looked at, if no attempt comes first."""
    documents_crc: int = UNCHECKED
    """As `mail.queue.documents.crc_of` gives it."""


class RecipientRow(NamedTuple):
    """One row of `recipient`."""

    mid: int
    rid: int
    bucket: int
    destination: str
    target: str
    attempts: int
    next_attempt_at: float
    last_reply: str
    host_level: int
    warned: int = 0
    """Delay warnings sent."""
    flow: int = 0
    """Number of the sender whose turn it is when this is sent; several senders may have the same."""


_MESSAGE = f"SELECT {', '.join(MessageRow._fields)} FROM message"  # noqa: S608 - our names
_RECIPIENT = f"SELECT {', '.join(RecipientRow._fields)} FROM recipient"  # noqa: S608 - our names
_THESE = "WHERE mid IN (SELECT value FROM json_each(?))"
_INSERT_POSITION = insert("position", ("journal", "generation", "offset"), "INSERT OR REPLACE")
_INSERT_MESSAGE = insert("message", MessageRow._fields, "INSERT OR IGNORE")
_INSERT_RECIPIENT = insert("recipient", RecipientRow._fields, "INSERT OR IGNORE")


@dataclass(slots=True)
class Change:
    """What one checkpoint writes, all or nothing."""

    epoch: int = 0
    positions: list[tuple[str, int, int]] = field(default_factory=list)
    messages: list[MessageRow] = field(default_factory=list)
    recipients: list[RecipientRow] = field(default_factory=list)
    """Rows of new messages."""
    tried: list[tuple[int, float, str, int, int, int, int]] = field(default_factory=list)
    """(attempts, next_attempt_at, last_reply, host_level, warned, mid, rid)."""
    reviewed: list[tuple[float, int]] = field(default_factory=list)
    """(review_at, mid) of messages for which it is another time now."""
    finished: list[tuple[int, int]] = field(default_factory=list)
    """(mid, rid) of a message that goes on."""
    removed: list[tuple[int]] = field(default_factory=list)
    """MIDs."""
    moved: list[tuple[str, int, str, str, int, int]] = field(default_factory=list)
    """(journal, generation, kind, name, offset, mid)."""
    rerouted: list[tuple[str, str, int, int, int]] = field(default_factory=list)
    """(destination, target, bucket, mid, rid)."""
    tallied: Tallied | None = None
    """Counts by destination."""


class Load(NamedTuple):
    """What the index holds for one destination."""

    destination: str
    target: str
    recipients: int
    attempted: int
    earliest: float
    down_until: float = 0.0
    """When the first recipient is due that waits for the host, 0 = none does."""


def epoch_and_positions(database: Database) -> tuple[int, dict[str, tuple[int, int]]]:
    """Give the stored epoch and {journal: (generation, offset)}."""
    row = database.first("SELECT value FROM state WHERE name = 'epoch'")
    assert row is not None
    rows = cast(list[tuple[str, int, int]], database.query("SELECT journal, generation, offset FROM position"))
    return cast(int, row[0]), {journal: (generation, offset) for journal, generation, offset in rows}


def write(database: Database, change: Change) -> None:
    """Carry out a checkpoint."""
    database.query("UPDATE state SET value = ? WHERE name = 'epoch'", (change.epoch,))
    work: list[tuple[str, Sequence[Sequence[Value]]]] = [
        (_INSERT_POSITION, change.positions),
        (_INSERT_MESSAGE, change.messages),
        (_INSERT_RECIPIENT, change.recipients),
        (
            "UPDATE recipient SET attempts = ?, next_attempt_at = ?, last_reply = ?, host_level = ?, warned = ?"
            " WHERE mid = ? AND rid = ?",
            change.tried,
        ),
        ("UPDATE message SET review_at = ? WHERE mid = ?", change.reviewed),
        ("UPDATE recipient SET destination = ?, target = ?, bucket = ? WHERE mid = ? AND rid = ?", change.rerouted),
        ("DELETE FROM recipient WHERE mid = ? AND rid = ?", change.finished),
        ("DELETE FROM recipient WHERE mid = ?", change.removed),
        ("DELETE FROM message WHERE mid = ?", change.removed),
        (
            "UPDATE message SET journal = ?, generation = ?, kind = ?, name = ?, offset = ? WHERE mid = ?",
            change.moved,
        ),
    ]
    for sql, rows in work:
        if rows:
            database.many(sql, rows)
    if change.tallied is not None:
        tally.write(database, change.tallied)


def finish(database: Database, done: Mapping[int, Set[int]]) -> int:
    """Remove recipients that the done log says are finished, and messages left without any; give how many."""
    rows = [(mid, rid) for mid, rids in done.items() for rid in rids]
    database.many("DELETE FROM recipient WHERE mid = ? AND rid = ?", rows)
    mids = [(mid,) for mid in done]
    database.many(
        "DELETE FROM message WHERE mid = ? AND NOT EXISTS (SELECT 1 FROM recipient WHERE mid = message.mid)", mids
    )
    return len(rows)


def loads(database: Database) -> list[Load]:
    """Give what the index holds, by destination."""
    rows = database.query(
        "SELECT destination, target, COUNT(*), TOTAL(attempts > 0), MIN(next_attempt_at),"
        " IFNULL(MIN(CASE WHEN host_level THEN next_attempt_at END), 0) FROM recipient GROUP BY destination, target"
    )
    return [
        Load(str(d), str(t), cast(int, n), int(cast(float, tried)), cast(float, at), cast(float, down))
        for d, t, n, tried, at, down in rows
    ]


def pull_in(database: Database, latest: float, due_at: float) -> int:
    """Make due at `due_at` who waits for a time after `latest`, but not who waits for a person; give how many."""
    sql = "UPDATE recipient SET next_attempt_at = ? WHERE next_attempt_at > ? AND next_attempt_at < 9e99 RETURNING 1"
    return len(database.query(sql, (due_at, latest)))


def segments(database: Database) -> dict[tuple[str, int], int]:
    """Give how many messages depend on each segment: {(journal, generation): messages}."""
    rows = database.query("SELECT journal, generation, COUNT(*) FROM message GROUP BY journal, generation")
    return {(cast(str, journal), cast(int, generation)): cast(int, n) for journal, generation, n in rows}


def messages(database: Database, mids: Iterable[int]) -> list[tuple[MessageRow, list[RecipientRow]]]:
    """Read whole messages, in the order given; those that are not there are left out."""
    found = []
    for mid in mids:
        row = database.first(_MESSAGE + " WHERE mid = ?", (mid,))
        if row is not None:
            rows = database.query(_RECIPIENT + " WHERE mid = ? ORDER BY rid", (mid,))
            found.append((_message(row), [RecipientRow(*row) for row in rows]))  # type: ignore[arg-type]
    return found


def overdue(database: Database, now: float, most: int) -> list[int]:
    """Give the MIDs of up to `most` messages whose age is to be looked at, the longest due first."""
    rows = database.query("SELECT mid FROM message WHERE review_at <= ? ORDER BY review_at LIMIT ?", (now, most))
    return [cast(int, mid) for (mid,) in rows]


def never_overdue(database: Database, mids: Iterable[int]) -> None:
    """Have the age of some messages not looked at any more."""
    database.many("UPDATE message SET review_at = 9e999 WHERE mid = ?", [(mid,) for mid in mids])


def _message(row: Row) -> MessageRow:
    return MessageRow(*row)  # type: ignore[arg-type]


def in_segment(database: Database, segment: tuple[str, int], most: int) -> list[MessageRow]:
    """Read up to `most` messages whose content lies in a segment."""
    rows = database.query(_MESSAGE + " WHERE journal = ? AND generation = ? LIMIT ?", (*segment, most))
    return [_message(row) for row in rows]


def chosen(database: Database, destination: str | None, sender: str | None, *, after: int, most: int) -> list[int]:
    """Give the MIDs beyond `after` by destination name, by sender, or all, in their order.

    `sender` is an address, `user@` or `@domain`; without regard to the case of ASCII letters, '' is the null sender.
    """
    sql, values = _choice(destination, sender)
    rows = cast(list[tuple[int]], database.query(f"{sql} ORDER BY mid LIMIT ?", (after, *values, most)))
    return [mid for (mid,) in rows]


def how_many(database: Database, destination: str | None, sender: str | None) -> int:
    """Count the messages that `chosen` gives."""
    sql, values = _choice(destination, sender)
    row = database.first(f"SELECT COUNT(*) FROM ({sql})", (-1, *values))  # noqa: S608 - our own text
    assert row is not None
    return cast(int, row[0])


def _choice(destination: str | None, sender: str | None) -> tuple[str, list[Value]]:
    """Give the query of `chosen` without order and limit; its first value is the MID to go on after."""
    if destination is None and sender is None:
        return "SELECT mid FROM message WHERE mid > ?", []
    if sender is None:
        return "SELECT DISTINCT mid FROM recipient WHERE mid > ? AND destination = ?", [destination]
    # The plus keeps SQLite from walking through all MIDs where the sender's index finds the few.
    sql, low = "SELECT mid FROM message WHERE +mid > ?", ascii_lower(sender)
    values: list[Value] = [low]
    if low.startswith("@"):
        sql, values = f"{sql} AND {_DOMAIN} = ?", [low[1:]]
    elif low.endswith("@"):
        sql, values = f"{sql} AND lower(sender) >= ? AND lower(sender) < ?", [low, low[:-1] + "A"]
    else:
        sql = f"{sql} AND lower(sender) = ?"
    if destination is None:
        return sql, values
    sql += " AND EXISTS (SELECT 1 FROM recipient WHERE mid = message.mid AND destination = ?)"
    return sql, [*values, destination]


def ascii_lower(text: str) -> str:
    """Put ASCII letters into lower case as SQLite does, no others."""
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")


def several(database: Database, mids: Iterable[int]) -> list[tuple[MessageRow, list[RecipientRow]]]:
    """Read whole messages by their MIDs in two queries, in the order of MIDs; what is not there is left out."""
    wanted = json.dumps(list(mids))
    by_mid: dict[int, list[RecipientRow]] = {}
    sql = f"{_RECIPIENT} {_THESE} ORDER BY mid, rid"
    for row in database.query(sql, (wanted,)):
        one = RecipientRow(*row)  # type: ignore[arg-type]
        by_mid.setdefault(one.mid, []).append(one)
    sql = f"{_MESSAGE} {_THESE} ORDER BY mid"
    rows = [_message(row) for row in database.query(sql, (wanted,))]
    return [(row, by_mid.get(row.mid, [])) for row in rows]


def waiting_rows(database: Database, destination: str | None, now: float) -> int:
    """Count the recipients of a destination name, or all, that are tried later than now, but not never."""
    sql = "SELECT COUNT(*) FROM recipient WHERE next_attempt_at > ? AND next_attempt_at < 9e999"
    where, values = ("", ()) if destination is None else (" AND destination = ?", (destination,))
    row = database.first(sql + where, (now, *values))
    assert row is not None
    return cast(int, row[0])


def make_message_due(database: Database, mid: int, now: float) -> list[tuple[str, str]]:
    """Have a message's recipients tried now; give their destinations, each as often as there are recipients."""
    rows = database.query(
        "UPDATE recipient SET next_attempt_at = ? WHERE mid = ? AND next_attempt_at > ? RETURNING destination, target",
        (now, mid, now),
    )
    return cast(list[tuple[str, str]], rows)


def oldest_for(database: Database, destination: str) -> bytes | None:
    """Give the `Accepted` document of the oldest message for a destination.

    One that has much of the queue is found among the first rows; of others not all that many are to be looked at.
    """
    early = "SELECT mid FROM (SELECT mid, destination FROM recipient ORDER BY mid LIMIT 2000) WHERE destination = ?1"
    least = "SELECT MIN(mid) FROM recipient WHERE destination = ?1"
    row = database.first(
        f"SELECT accepted FROM message WHERE mid = IFNULL(({early} ORDER BY mid LIMIT 1), ({least}))",  # noqa: S608
        (destination,),
    )
    return None if row is None else cast(bytes, row[0])


def oldest(database: Database) -> bytes | None:
    """Give the `Accepted` document of the message that was accepted first."""
    row = database.first("SELECT accepted FROM message ORDER BY mid LIMIT 1")
    return None if row is None else cast(bytes, row[0])
