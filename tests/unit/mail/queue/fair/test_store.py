"""`mail.queue.fair.store`: what is loaded for a destination, by counts of messages and of rows looked at."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.record import Accepted, Outcome, Recipient, encode
from core.sqlite import Database, open_database
from mail.queue import store
from mail.queue.fair.store import Picked, Want, make_due, pick
from mail.queue.store import Change, MessageRow, RecipientRow

KEY = ("there.test", "")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    one = open_database(tmp_path / "queue.db", store.SCHEMA)
    yield one
    one.close()


def fill(database: Database, rows: Sequence[tuple[int, int, float]], domain: str = "there.test", host: int = 0) -> None:
    """Write messages as (mid, sender number, due at)."""
    accepted = encode(Accepted(1, 1, 0.0, "a@here.test", [Recipient(0, "b@there.test")], 5))
    outcome = encode(Outcome(1, "deliver"))
    change = Change(
        messages=[MessageRow(mid, "a", accepted, outcome, "g", 1, "journal", "s", 0, 5, 9) for mid, _, _ in rows],
        recipients=[RecipientRow(mid, 0, 7, domain, "", 0, at, "", host, 0, flow) for mid, flow, at in rows],
    )
    with database.transaction():
        store.write(database, change)


def load(database: Database, most: int, until: float = 10.0, cursor: int = 0, taken: Sequence[int] = ()) -> Picked:
    (picked,) = pick(database, [Want(KEY, most, cursor)], until, frozenset(taken).__contains__)
    return picked


def mids(picked: Picked) -> list[int]:
    return [row.mid for row, _ in picked.messages]


def test_due_mail_comes_without_what_is_in_memory(database: Database) -> None:
    fill(database, [(mid, 1, float(10 - mid)) for mid in range(1, 7)])
    found = load(database, 2, 8.0, taken=[6])
    assert (mids(found), found.earliest) == ([5, 4], 8.0)
    rest = load(database, 9, 8.0, taken=[6, 5, 4])
    assert (mids(rest), rest.earliest) == ([3, 2], 9.0)
    assert load(database, 9, 20.0, taken=range(7)).earliest == float("inf")


def test_a_sender_with_100000_messages_does_not_keep_another_out_of_memory(database: Database) -> None:
    """Of 100 places the one message of another sender has one, though 100,000 were due before it."""
    fill(database, [(mid, 5, 0.0) for mid in range(1, 100_001)])
    fill(database, [(200_000, 9, 1.0)])
    assert 200_000 in mids(load(database, 100))


def test_a_load_looks_at_few_rows_however_long_the_queue_is(database: Database) -> None:
    fill(database, [(mid, mid % 10, 0.0) for mid in range(1, 50_001)])
    queries = 0
    first = database.first

    def counted(sql: str, values: Any = ()) -> Any:
        nonlocal queries
        queries += 1
        return first(sql, values)

    database.first = counted  # type: ignore[method-assign]
    assert len(mids(load(database, 20))) == 20
    assert queries < 100


def test_many_senders_have_their_turn_one_load_after_the_other(database: Database) -> None:
    fill(database, [(mid, mid % 1000, 0.0) for mid in range(1, 5001)])
    cursor, seen, taken = 0, set[int](), list[int]()
    for _ in range(25):
        picked = load(database, 50, cursor=cursor, taken=taken)
        cursor = picked.cursor
        taken += mids(picked)
        seen |= {mid % 1000 for mid in mids(picked)}
    assert len(seen) > 950


def test_the_longest_due_message_is_always_given(database: Database) -> None:
    fill(database, [(mid, mid, 5.0) for mid in range(1, 500)])
    fill(database, [(900, 499, 1.0)])
    assert 900 in mids(load(database, 2, cursor=7))


def test_a_message_with_many_recipients_is_one_message(database: Database) -> None:
    fill(database, [(1, 3, 0.0), (2, 3, 0.0)])
    rows = [RecipientRow(1, rid, 7, "there.test", "", 0, 0.0, "", 0, 0, 3) for rid in range(1, 3000)]
    with database.transaction():
        store.write(database, Change(recipients=rows))
    found = load(database, 10)
    assert [(row.mid, len(recipients)) for row, recipients in found.messages] == [(1, 3000), (2, 1)]


def test_other_destinations_are_not_touched(database: Database) -> None:
    fill(database, [(1, 3, 0.0)], domain="else.test")
    assert load(database, 10) == Picked([], float("inf"), 0)


def test_what_waited_for_the_host_is_made_due_a_part_at_a_time(database: Database) -> None:
    fill(database, [(mid, 1, 50.0 + mid) for mid in range(1, 2501)], host=1)
    fill(database, [(mid, 1, 60.0) for mid in range(5001, 5100)])
    fill(database, [(9000, 1, float("inf"))], host=1)
    after: float | None = 0.0
    parts = []
    while after is not None:
        with database.transaction():
            count, after = make_due(database, KEY, 3.0, host_level=True, after=after)
        parts.append(count)
    assert sum(parts) == 2500
    assert max(parts) == 1000
    with database.transaction():
        assert make_due(database, KEY, 3.0, host_level=False, after=0.0) == (99, None)


def test_more_than_a_part_that_waits_for_one_and_the_same_time_is_made_due(database: Database) -> None:
    """The next part began after that time, and the rest kept waiting for it."""
    fill(database, [(mid, 1, 50.0) for mid in range(1, 2501)], host=1)
    after: float | None = 0.0
    while after is not None:
        with database.transaction():
            _, after = make_due(database, KEY, 3.0, host_level=True, after=after)
    assert database.query("SELECT count(*) FROM recipient WHERE next_attempt_at > 3") == [(0,)]
