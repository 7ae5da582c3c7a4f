"""The quarantine store in SQLite: messages, holds, transfer ids, outbox, removals.

Implements `QuarantineStore` (cpq/held.py says what each method promises). Written by two processes, cpq-listener
and release-host, in short transactions. The SQL of the quarantine is here and in cpq/exchange/store.py only.
Schema version 1; a release that cannot use the file is refused by core/sqlite.py. Raises `DatabaseError`.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.database import insert
from core.killpoint import killpoint
from core.sqlite import Database, DatabaseThread, Schema, Value
from cpq.held import Arrival, Departure, Due, HeldIn, Known, Leaving, Message, Order, Search, StaysHeld, Taken, Verdict
from cpq.policy import stays_held
from cpq.state import Cause, Event, NotPossible, State, after, resolution

SCHEMA = Schema(
    name="quarantine",
    version=1,
    compatible=1,
    create="""
CREATE TABLE message (
    id TEXT PRIMARY KEY, mid INTEGER NOT NULL, origin_serial TEXT NOT NULL, origin_mid INTEGER NOT NULL,
    sender TEXT NOT NULL, recipients TEXT NOT NULL, subject TEXT NOT NULL,
    sender_key TEXT NOT NULL, recipients_key TEXT NOT NULL, subject_key TEXT NOT NULL,
    size INTEGER NOT NULL, received_at REAL NOT NULL, held_at REAL NOT NULL, hold_count INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'released', 'deleted')), left_at REAL NOT NULL DEFAULT 0,
    frame BLOB NOT NULL
);
CREATE INDEX message_held ON message (state, id, size);
CREATE INDEX message_left ON message (left_at) WHERE state <> 'held';
CREATE TABLE hold (
    message TEXT NOT NULL REFERENCES message (id) ON DELETE CASCADE, quarantine TEXT NOT NULL, asked TEXT NOT NULL,
    reason TEXT NOT NULL, matched TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('held', 'released', 'deleted')),
    held_at REAL NOT NULL, expires_at REAL NOT NULL, left_at REAL NOT NULL DEFAULT 0, cause TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (message, quarantine)
) WITHOUT ROWID;
CREATE INDEX hold_due ON hold (expires_at) WHERE state = 'held' AND expires_at > 0;
CREATE INDEX hold_listed ON hold (quarantine, state, message);
CREATE TABLE transfer (
    id BLOB PRIMARY KEY, peer TEXT NOT NULL, mid INTEGER NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
    taken_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE outbox (
    id BLOB PRIMARY KEY, message TEXT NOT NULL UNIQUE REFERENCES message (id), target TEXT NOT NULL,
    queued_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE removal (content TEXT PRIMARY KEY) WITHOUT ROWID;
""",
)

_MESSAGE = (
    "m.id, m.mid, m.origin_serial, m.origin_mid, m.sender, m.recipients, m.subject, m.size, m.received_at,"
    " m.held_at, m.hold_count, m.state"
)
_HOLD = "quarantine, asked, reason, matched, state, held_at, expires_at, left_at"
_KEYS = ("sender_key", "recipients_key", "subject_key", "frame")
_INSERT_MESSAGE = insert("message", (*_MESSAGE.replace("m.", "").split(", "), *_KEYS))
_INSERT_HOLD = insert("hold", ("message", *_HOLD.split(", ")))
_INSERT_TRANSFER = insert("transfer", ("id", "mid", "size", "sha256", "peer", "taken_at"))
_INSERT_OUTBOX = insert("outbox", ("id", "message", "target", "queued_at"))


class SqliteStore:
    """One process's access to the quarantine database."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._thread = DatabaseThread(path, SCHEMA, content=path.with_name("content"))
        self.arrivals = SqliteArrivals(self._thread)
        self.catalogue = SqliteCatalogue(self._thread)
        self.decisions = SqliteDecisions(self._thread)
        self.outbox = SqliteOutbox(self._thread)

    def close(self) -> None:
        """Finish what is queued and close the file; blocks."""
        self._thread.close()


class _Part:
    def __init__(self, thread: DatabaseThread) -> None:
        self._thread = thread


class SqliteArrivals(_Part):
    """`Arrivals` of cpq/held.py."""

    async def take(self, arrivals: Sequence[Arrival]) -> list[Taken]:
        """Store arrivals, unless known."""
        return await self._thread.change(_take, arrivals)

    async def known(self, transfer_ids: Sequence[bytes]) -> dict[bytes, Known]:
        """Look ids up."""
        return await self._thread.run(_known, transfer_ids)

    async def settle(self, peer: str, transfer_ids: Sequence[bytes]) -> int:
        """Forget ids."""
        return await self._thread.change(_settle, peer, transfer_ids)

    async def content_names(self) -> set[str]:
        """Name the content files."""
        return await self._thread.run(_content_names)


class SqliteCatalogue(_Part):
    """`Catalogue` of cpq/held.py."""

    async def find(self, search: Search) -> list[Message]:
        """List held messages."""
        return await self._thread.run(_find, search)

    async def message(self, id: str) -> Message | None:
        """Show one message."""
        return await self._thread.run(_one, id)

    async def held(self) -> tuple[int, int]:
        """Count and add up what is held."""
        return await self._thread.run(_held)

    async def held_in(self, quarantine: str) -> int:
        """Count what one quarantine holds."""
        sql = "SELECT count(*) FROM hold WHERE quarantine = ? AND state = 'held'"
        return await self._thread.run(lambda db: _int((db.first(sql, (quarantine,)) or (0,))[0]))


class SqliteDecisions(_Part):
    """`Decisions` of cpq/held.py."""

    async def apply(self, orders: Sequence[Order], now: float) -> list[Departure]:
        """Carry out decisions."""
        return await self._thread.change(_apply, orders, now)

    async def due(self, now: float, limit: int) -> list[Due]:
        """List what expires."""
        return await self._thread.run(_due, now, limit)

    async def soonest(self, quarantines: Sequence[str], limit: int) -> list[Due]:
        """List what expires next."""
        return await self._thread.run(_soonest, quarantines, limit)

    async def purge(self, before: float) -> int:
        """Forget what left long ago."""
        return await self._thread.change(_purge, before)


class SqliteOutbox(_Part):
    """`Outbox` of cpq/held.py."""

    async def leaving(self, limit: int) -> list[Leaving]:
        """List what waits for its hand-over."""
        return await self._thread.run(_leaving, limit)

    async def handed_over(self, transfer_ids: Sequence[bytes]) -> None:
        """Clear outbox rows."""
        await self._thread.change(_handed_over, transfer_ids)

    async def removals(self, limit: int) -> list[str]:
        """List content files that may go."""
        return await self._thread.run(_removals, limit)

    async def removed(self, names: Sequence[str]) -> None:
        """Clear removal rows."""
        await self._thread.change(_removed, names)


def _take(db: Database, arrivals: Sequence[Arrival]) -> list[Taken]:
    taken = []
    for one in arrivals:
        row = db.first("SELECT mid, size, sha256, peer FROM transfer WHERE id = ?", (one.transfer_id,))
        if row is not None:
            same = row[1:] == (one.size, one.sha256, one.peer)
            taken.append(Taken(Verdict.REPEATED if same else Verdict.CONFLICT, _int(row[0])))
            continue
        _insert(db, one)
        taken.append(Taken(Verdict.STORED, one.mid))
    killpoint("quarantine.take.before-commit")
    return taken


def _insert(db: Database, one: Arrival) -> None:
    recipients = "\n".join(one.recipients)
    db.query(
        _INSERT_MESSAGE,
        (
            *(one.id, one.mid, one.origin_serial, one.origin_mid, one.sender, recipients, one.subject),
            *(one.size, one.received_at, one.held_at, one.hold_count, "held"),
            *(one.sender.casefold(), recipients.casefold(), one.subject.casefold(), one.frame),
        ),
    )
    db.many(
        _INSERT_HOLD,
        [(one.id, h.quarantine, h.asked, h.reason, h.matched, "held", one.held_at, h.expires_at, 0) for h in one.holds],
    )
    db.query(_INSERT_TRANSFER, (one.transfer_id, one.mid, one.size, one.sha256, one.peer, one.held_at))


def _known(db: Database, transfer_ids: Sequence[bytes]) -> dict[bytes, Known]:
    found: dict[bytes, Known] = {}
    for one in transfer_ids:
        row: Any = db.first("SELECT mid, size, sha256, peer FROM transfer WHERE id = ?", (one,))
        if row is not None:
            found[one] = Known(*row)
    return found


def _settle(db: Database, peer: str, transfer_ids: Sequence[bytes]) -> int:
    count = 0
    for one in transfer_ids:
        db.query("DELETE FROM transfer WHERE id = ? AND peer = ?", (one, peer))
        count += db.changed
    return count


def _find(db: Database, search: Search) -> list[Message]:
    where = ["m.state = 'held'"]
    values: list[Value] = []
    source = "message m"
    if search.quarantine:
        source = "hold h JOIN message m ON m.id = h.message"
        where += ["h.quarantine = ?", "h.state = 'held'"]
        values.append(search.quarantine)
    key = "h.message" if search.quarantine else "m.id"
    if search.after:
        where.append(f"{key} < ?")
        values.append(search.after)
    for column, text in (
        ("m.sender_key", search.sender),
        ("m.recipients_key", search.recipient),
        ("m.subject_key", search.subject),
    ):
        if text:
            where.append(f"instr({column}, ?) > 0")
            values.append(text.casefold())
    # Only fixed names are put into the text; every value is bound.
    sql = f"SELECT {_MESSAGE} FROM {source} WHERE {' AND '.join(where)} ORDER BY {key} DESC LIMIT ?"  # noqa: S608
    return [_message(db, row) for row in db.query(sql, [*values, search.limit])]


def _one(db: Database, id: str) -> Message | None:
    row = db.first(f"SELECT {_MESSAGE}, m.frame FROM message m WHERE m.id = ?", (id,))  # noqa: S608
    return None if row is None else _message(db, row)


def _message(db: Database, row: Any) -> Message:
    rows: Any = db.query(f"SELECT {_HOLD} FROM hold WHERE message = ? ORDER BY quarantine", (row[0],))  # noqa: S608
    return Message(
        id=row[0],
        mid=row[1],
        origin_serial=row[2],
        origin_mid=row[3],
        sender=row[4],
        recipients=tuple(row[5].split("\n")),
        subject=row[6],
        size=row[7],
        received_at=row[8],
        held_at=row[9],
        hold_count=row[10],
        state=State(row[11]),
        holds=tuple(_hold(hold) for hold in rows),
        frame=row[12] if len(row) > 12 else b"",
    )


def _hold(row: Any) -> HeldIn:
    quarantine, asked, reason, matched, state, held_at, expires_at, left_at = row
    return HeldIn(quarantine, asked, reason, matched, State(state), held_at, expires_at, left_at)


def _apply(db: Database, orders: Sequence[Order], now: float) -> list[Departure]:
    departures: list[Departure] = []
    for order in orders:
        try:
            departures += _carry_out(db, order, now)
        except (KeyError, NotPossible, StaysHeld):
            if order.cause is Cause.MANUAL:
                raise
    killpoint("quarantine.apply.before-commit")
    return departures


def _carry_out(db: Database, order: Order, now: float) -> list[Departure]:
    """Move the holds that the order names; with the last one, send the message on its way.

    Raises before the first change or not at all.
    """
    message = _one(db, order.id)
    if message is None:
        raise KeyError(order.id)
    named = [one for one in message.holds if order.quarantine in ("", one.quarantine)]
    moving = [one for one in named if one.state is State.HELD]
    if not named:
        raise KeyError(f"{message.id} in {order.quarantine}")
    if not moving:
        after(resolution(one.state for one in named), order.event)  # the same way again is fine, the other way not
        return []
    if order.event is Event.RELEASE and stays_held(message.hold_count):
        raise StaysHeld(message.id, message.mid, message.hold_count)
    states = {one.quarantine: one.state for one in message.holds}
    for one in moving:
        states[one.quarantine] = after(one.state, order.event)
        db.query(
            "UPDATE hold SET state = ?, left_at = ?, cause = ? WHERE message = ? AND quarantine = ?",
            (states[one.quarantine].value, now, order.cause.value, message.id, one.quarantine),
        )
    whole = resolution(states.values())
    if whole is not State.HELD:
        _resolve(db, message, whole, now)
    return [
        Departure(
            *(message.id, message.mid, one.quarantine, order.event, order.cause, max(0.0, now - one.held_at)),
            whole if one is moving[-1] and whole is not State.HELD else None,
        )
        for one in moving
    ]


def _resolve(db: Database, message: Message, whole: State, now: float) -> None:
    db.query("UPDATE message SET state = ?, left_at = ? WHERE id = ?", (whole.value, now, message.id))
    if whole is State.RELEASED:
        db.query(_INSERT_OUTBOX, (secrets.token_bytes(16), message.id, message.origin_serial, now))
    else:
        db.query("INSERT OR IGNORE INTO removal (content) VALUES (?)", (message.id,))


def _due(db: Database, now: float, limit: int) -> list[Due]:
    return _dues(
        db,
        "WHERE h.state = 'held' AND h.expires_at > 0 AND h.expires_at <= ? ORDER BY h.expires_at LIMIT ?",
        (now, limit),
    )


def _soonest(db: Database, quarantines: Sequence[str], limit: int) -> list[Due]:
    marks = ", ".join("?" * len(quarantines))
    return _dues(
        db,
        f"WHERE h.state = 'held' AND h.expires_at > 0 AND h.quarantine IN ({marks}) ORDER BY h.expires_at LIMIT ?",
        (*quarantines, limit),
    )


def _dues(db: Database, condition: str, values: Sequence[Value]) -> list[Due]:
    sql = f"SELECT h.message, h.quarantine, m.size FROM hold h JOIN message m ON m.id = h.message {condition}"  # noqa: S608
    rows: Any = db.query(sql, values)
    return [Due(*row) for row in rows]


def _held(db: Database) -> tuple[int, int]:
    row = db.first("SELECT count(*), coalesce(sum(size), 0) FROM message WHERE state = 'held'")
    return (_int(row[0]), _int(row[1])) if row else (0, 0)


def _leaving(db: Database, limit: int) -> list[Leaving]:
    rows: Any = db.query(
        "SELECT o.id, m.id, m.mid, o.target, m.frame FROM outbox o JOIN message m ON m.id = o.message"
        " ORDER BY o.queued_at LIMIT ?",
        (limit,),
    )
    return [Leaving(*row) for row in rows]


def _handed_over(db: Database, transfer_ids: Sequence[bytes]) -> None:
    for one in transfer_ids:
        db.query("INSERT OR IGNORE INTO removal (content) SELECT message FROM outbox WHERE id = ?", (one,))
        db.query("DELETE FROM outbox WHERE id = ?", (one,))
    killpoint("quarantine.handed-over.before-commit")


def _removals(db: Database, limit: int) -> list[str]:
    return [str(row[0]) for row in db.query("SELECT content FROM removal LIMIT ?", (limit,))]


def _removed(db: Database, names: Sequence[str]) -> None:
    db.many("DELETE FROM removal WHERE content = ?", [(name,) for name in names])


def _content_names(db: Database) -> set[str]:
    rows = db.query(
        "SELECT id FROM message WHERE state = 'held' UNION SELECT message FROM outbox UNION SELECT content FROM removal"
    )
    return {str(row[0]) for row in rows}


def _purge(db: Database, before: float) -> int:
    db.query(
        "DELETE FROM message WHERE state <> 'held' AND left_at < ?"
        " AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.message = message.id)",
        (before,),
    )
    return db.changed


def _int(value: Value) -> int:
    assert isinstance(value, int)
    return value
