"""Two small databases of transfer ids: taken here (`state/transfers.db`), owed to peers (`state/settle.db`).

`TakenIds` belongs to cpq-listener on the ESA: an id is written after the message is durable in the journal and before
the peer's 250. `OwedIds` belongs to delivery-queue: an id is written after the peer's 250 and before the queue hears
of it, and goes when the peer has acknowledged the settlement. Raises `DatabaseError`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.killpoint import killpoint
from core.sqlite import Database, DatabaseThread, Schema
from cpq.held import Known

TAKEN = Schema(
    name="transfers",
    version=1,
    create="""
CREATE TABLE taken (
    id BLOB PRIMARY KEY, peer TEXT NOT NULL, mid INTEGER NOT NULL, size INTEGER NOT NULL, sha256 BLOB NOT NULL,
    taken_at REAL NOT NULL
) WITHOUT ROWID;
""",
)
OWED = Schema(
    name="settlements",
    version=1,
    create="""
CREATE TABLE owed (
    id BLOB PRIMARY KEY, peer TEXT NOT NULL, mid INTEGER NOT NULL, finished INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX owed_finished ON owed (peer) WHERE finished;
CREATE INDEX owed_mid ON owed (mid);
""",
)


@dataclass(frozen=True, slots=True)
class TakenId:
    """One transfer id with what it stood for."""

    transfer_id: bytes
    peer: str
    mid: int
    size: int
    sha256: bytes
    taken_at: float


class TakenIds:
    """The ids of messages that this machine has taken back and that their sender has not settled."""

    def __init__(self, path: Path) -> None:
        self._thread = DatabaseThread(path, TAKEN)

    def close(self) -> None:
        """Finish what is queued and close the file; blocks."""
        self._thread.close()

    async def remember(self, ids: Iterable[TakenId]) -> None:
        """Write ids down, durably; one that is known stays as it is."""
        await self._thread.change(_remember, list(ids))

    async def known(self, transfer_id: bytes) -> Known | None:
        """Look one id up."""
        return await self._thread.run(_known, transfer_id)

    async def settle(self, peer: str, transfer_ids: Sequence[bytes]) -> int:
        """Forget ids that their sender will never use again; gives how many were known."""
        return await self._thread.change(_settle, peer, transfer_ids)


class OwedIds:
    """The ids that peers have acknowledged to this machine and that it has not settled with them yet."""

    def __init__(self, path: Path) -> None:
        self._thread = DatabaseThread(path, OWED)

    def close(self) -> None:
        """Finish what is queued and close the file; blocks."""
        self._thread.close()

    async def owe(self, transfer_id: bytes, peer: str, mid: int) -> None:
        """Note that the peer has acknowledged the message; the queue may still try it again."""
        await self._thread.change(_owe, transfer_id, peer, mid)

    async def finish(self, transfer_ids: Sequence[bytes]) -> None:
        """Note that the queue will never try those messages again."""
        await self._thread.change(_finish, transfer_ids)

    async def open(self) -> list[tuple[bytes, int]]:
        """Give (id, MID) of those whose messages the queue may still have."""
        return await self._thread.run(_open)

    async def due(self, limit: int) -> dict[str, list[bytes]]:
        """Give ids that can be settled, at most `limit` for each peer."""
        return await self._thread.run(_due, limit)

    async def paid(self, transfer_ids: Sequence[bytes]) -> None:
        """Forget ids that their receiver has forgotten."""
        await self._thread.change(_paid, transfer_ids)


def _remember(db: Database, ids: list[TakenId]) -> None:
    db.many(
        "INSERT OR IGNORE INTO taken (id, peer, mid, size, sha256, taken_at) VALUES (?, ?, ?, ?, ?, ?)",
        [(one.transfer_id, one.peer, one.mid, one.size, one.sha256, one.taken_at) for one in ids],
    )
    killpoint("quarantine.taken.before-commit")


def _known(db: Database, transfer_id: bytes) -> Known | None:
    row: Any = db.first("SELECT mid, size, sha256, peer FROM taken WHERE id = ?", (transfer_id,))
    return None if row is None else Known(*row)


def _settle(db: Database, peer: str, transfer_ids: Sequence[bytes]) -> int:
    count = 0
    for one in transfer_ids:
        db.query("DELETE FROM taken WHERE id = ? AND peer = ?", (one, peer))
        count += db.changed
    return count


def _owe(db: Database, transfer_id: bytes, peer: str, mid: int) -> None:
    db.query("INSERT OR REPLACE INTO owed (id, peer, mid, finished) VALUES (?, ?, ?, 0)", (transfer_id, peer, mid))
    killpoint("quarantine.owed.before-commit")


def _finish(db: Database, transfer_ids: Sequence[bytes]) -> None:
    db.many("UPDATE owed SET finished = 1 WHERE id = ?", [(one,) for one in transfer_ids])


def _open(db: Database) -> list[tuple[bytes, int]]:
    rows: Any = db.query("SELECT id, mid FROM owed WHERE NOT finished")
    return [(row[0], row[1]) for row in rows]


def _due(db: Database, limit: int) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    peers: Any = db.query("SELECT DISTINCT peer FROM owed WHERE finished")
    for (peer,) in peers:
        rows: Any = db.query("SELECT id FROM owed WHERE finished AND peer = ? LIMIT ?", (peer, limit))
        found[peer] = [row[0] for row in rows]
    return found


def _paid(db: Database, transfer_ids: Sequence[bytes]) -> None:
    db.many("DELETE FROM owed WHERE id = ?", [(one,) for one in transfer_ids])
