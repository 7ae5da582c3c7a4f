"""What is loaded from the index for a destination: a little of many senders, not the oldest of one.

`pick` goes from sender to sender in the order of their numbers (`recipient.flow`), from where the last load for that
destination ended, by steps in an index: it never looks at more rows than it gives, senders that it visits, and messages
that are in memory already. The message that is due longest is always among those given, so nobody waits for ever.
`make_due` moves what waits for a host by a bounded number of rows. All SQL; called in the database's thread.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

from core.sqlite import Database
from mail.queue.store import MessageRow, RecipientRow, messages

MOST_SENDERS = 200
"""Senders visited in one load."""
_OF = "FROM recipient INDEXED BY recipient_{} WHERE destination = ? AND target = ?"
_STEP = "AND (next_attempt_at, mid) > (?, ?) AND next_attempt_at <= ? ORDER BY next_attempt_at, mid LIMIT 1"

Key = tuple[str, str]


class Want(NamedTuple):
    """A destination to load for."""

    key: Key
    most: int
    cursor: int
    """The sender number after which to begin."""


class Picked(NamedTuple):
    """Messages for a destination, each with its recipients."""

    messages: list[tuple[MessageRow, list[RecipientRow]]]
    earliest: float
    """When there may be something more to load; infinite if never."""
    cursor: int


def pick(database: Database, wants: Sequence[Want], until: float, taken: Callable[[int], bool]) -> list[Picked]:
    """Read messages with a recipient that is due by `until`; `taken` tells which ones are in memory already."""
    return [_pick(database, want, until, taken) for want in wants]


def _pick(database: Database, want: Want, until: float, taken: Callable[[int], bool]) -> Picked:
    mids = dict.fromkeys(_first(_walk(database, want.key, None, until, taken), 1))
    cursor = want.cursor
    if 0 < len(mids) < want.most:
        flows = _flows(database, want.key, cursor, min(want.most, MOST_SENDERS))
        each = -(-want.most // len(flows))
        for flow in flows:
            if len(mids) >= want.most:
                break
            mids |= dict.fromkeys(_first(_walk(database, want.key, flow, until, taken), each))
            cursor = flow
        if len(mids) < want.most:
            mids |= dict.fromkeys(_first(_walk(database, want.key, None, until, taken), want.most))
    chosen = list(mids)[: want.most]
    earliest = until if len(mids) >= want.most else _after(database, want.key, until)
    return Picked(messages(database, chosen), earliest, cursor)


def _first(found: Iterator[int], most: int) -> list[int]:
    return [mid for mid, _ in zip(found, range(most), strict=False)]


def _walk(database: Database, key: Key, flow: int | None, until: float, taken: Callable[[int], bool]) -> Iterator[int]:
    """Give the due messages of a destination, or of one sender to it, the longest due first."""
    sql = f"SELECT next_attempt_at, mid {_OF.format('due')} {_STEP}"
    start: tuple[str | int, ...] = key
    if flow is not None:
        sql, start = f"SELECT next_attempt_at, mid {_OF.format('fair')} AND flow = ? {_STEP}", (*key, flow)
    at, mid = -1.0, -1
    while row := database.first(sql, (*start, at, mid, until)):
        at, mid = cast(tuple[float, int], row)
        if not taken(mid):
            yield mid


def _flows(database: Database, key: Key, after: int, most: int) -> list[int]:
    """Give sender numbers of a destination in their order, beginning after one, then from the first."""
    sql = f"SELECT flow {_OF.format('fair')} AND flow > ? ORDER BY flow LIMIT 1"
    found: dict[int, None] = {}
    wrapped = False
    while len(found) < most:
        row = database.first(sql, (*key, after))
        if row is None and wrapped:
            break
        if row is None:
            after, wrapped = -1, True
            continue
        after = cast(int, row[0])
        if after in found:
            break
        found[after] = None
    return list(found)


def _after(database: Database, key: Key, until: float) -> float:
    """Give when the next recipient is due that is not due yet."""
    sql = f"SELECT next_attempt_at {_OF.format('due')} AND next_attempt_at > ? ORDER BY next_attempt_at LIMIT 1"
    row = database.first(sql, (*key, until))
    return float("inf") if row is None else cast(float, row[0])


class Waking(NamedTuple):
    """A destination whose waiting mail is made due, so far up to a time."""

    key: Key
    host_level: bool
    after: float


def make_several_due(database: Database, wakings: Sequence[Waking], now: float) -> list[tuple[int, float | None]]:
    """Do `make_due` for some destinations."""
    return [make_due(database, one.key, now, host_level=one.host_level, after=one.after) for one in wakings]


def make_due(
    database: Database, key: Key, now: float, *, host_level: bool, after: float, most: int = 1000
) -> tuple[int, float | None]:
    """Have up to about `most` recipients of a destination tried now, of those due after a time, and not never.

    With `host_level` only those that waited for the host. Gives how many, and after which time to go on, None at the
    end.
    """
    rows = cast(
        list[tuple[float, int, int]],
        database.query(
            f"SELECT next_attempt_at, mid, rid {_OF.format('due')} AND next_attempt_at > ? AND next_attempt_at < 9e999"
            " AND host_level >= ? ORDER BY next_attempt_at LIMIT ?",
            (*key, max(after, now), int(host_level), most),
        ),
    )
    database.many(
        "UPDATE recipient SET next_attempt_at = ? WHERE mid = ? AND rid = ?", [(now, mid, rid) for _, mid, rid in rows]
    )
    if len(rows) < most:
        return len(rows), None
    # Others may be due at the very time at which this batch ends; what was moved is at `now`, and not met again.
    return len(rows), rows[-1][0] - 1e-6
