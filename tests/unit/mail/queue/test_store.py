"""`mail.queue.store`: the index by destination, by message and by segment."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.record import Accepted, Outcome, Recipient, encode
from core.sqlite import Database, Row, Schema, Value, open_database
from mail.queue import store
from mail.queue.store import Change, MessageRow, RecipientRow


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    one = open_database(tmp_path / "queue.db", store.SCHEMA)
    yield one
    one.close()


def message(mid: int, sender: str = "a@here.test") -> MessageRow:
    accepted = Accepted(mid, 1, 0.0, sender, [Recipient(0, "b@there.test")], 5)
    return MessageRow(mid, sender, encode(accepted), encode(Outcome(mid, "deliver")), "g", 1, "journal", "s", 0, 5, 9)


def recipient(mid: int, rid: int = 0, at: float = 0.0, domain: str = "there.test") -> RecipientRow:
    return RecipientRow(mid, rid, 7, domain, "", 0, at, "", 0)


def write(database: Database, **change: object) -> None:
    with database.transaction():
        store.write(database, Change(**change))  # type: ignore[arg-type]


def mids(found: list[tuple[MessageRow, list[RecipientRow]]]) -> list[int]:
    return [row.mid for row, _ in found]


def test_positions_and_epoch_change_with_the_rows(database: Database) -> None:
    assert store.epoch_and_positions(database) == (0, {})
    write(database, epoch=3, positions=[("g", 1, 4096)], messages=[message(1)], recipients=[recipient(1)])
    assert store.epoch_and_positions(database) == (3, {"g": (1, 4096)})
    assert store.messages(database, [1, 2]) == [(message(1), [recipient(1)])]


def test_a_change_written_twice_is_written_once(database: Database) -> None:
    for _ in range(2):
        write(database, messages=[message(1)], recipients=[recipient(1)])
    assert mids(store.messages(database, [1])) == [1]


def test_finished_recipients_take_their_message_with_the_last(database: Database) -> None:
    write(database, messages=[message(1)], recipients=[recipient(1, 0), recipient(1, 1)])
    with database.transaction():
        store.finish(database, {1: {0}, 99: {0}})
    assert store.messages(database, [1]) == [(message(1), [recipient(1, 1)])]
    with database.transaction():
        store.finish(database, {1: {1}})
    assert store.messages(database, [1]) == []


def test_what_each_destination_and_segment_holds_is_counted(database: Database) -> None:
    rows = [recipient(1), recipient(2, at=5.0), recipient(2, 1, domain="else.test")]
    write(database, messages=[message(1), message(2)], recipients=rows)
    write(database, tried=[(2, 9.0, "451 busy", 1, 0, 2, 0)])
    assert sorted(store.loads(database)) == [
        ("else.test", "", 1, 0, 0.0, 0.0),
        ("there.test", "", 2, 1, 0.0, 9.0),
    ]
    assert store.segments(database) == {("g", 1): 2}
    write(database, moved=[("", 4, "file", "4.content", 100, 1)])
    assert store.segments(database) == {("g", 1): 1, ("", 4): 1}
    assert [row.mid for row in store.in_segment(database, ("", 4), 10)] == [1]


def test_recipients_are_found_by_host_and_by_sender(database: Database) -> None:
    senders = {1: "Ann@here.test", 2: "ann@else.test", 3: "", 4: "bob@here.test"}
    write(
        database,
        messages=[message(mid, sender) for mid, sender in senders.items()],
        recipients=[recipient(mid, domain="x.test" if mid == 4 else "there.test") for mid in senders],
    )

    def chosen(host: str | None, sender: str | None, after: int = 0, most: int = 10) -> list[int]:
        return store.chosen(database, host, sender, after=after, most=most)

    assert chosen(None, None) == [1, 2, 3, 4]
    assert chosen("x.test", None) == [4]
    assert chosen(None, "ann@HERE.test") == [1]
    assert chosen(None, "ann@") == [1, 2]
    assert chosen(None, "@here.test") == [1, 4]
    assert chosen("x.test", "@here.test") == [4]
    assert chosen("x.test", "ann@") == []
    assert chosen(None, "") == [3]
    assert chosen(None, None, most=2) == [1, 2]
    assert chosen(None, None, after=2) == [3, 4]
    assert [row.mid for row, _ in store.several(database, [4, 2, 77])] == [2, 4]


def test_a_search_by_sender_does_not_look_at_every_message(database: Database) -> None:
    plans: list[str] = []
    query = database.query

    def explained(sql: str, values: Sequence[Value]) -> list[Row]:
        plans.append(" ".join(str(row[3]) for row in query(f"EXPLAIN QUERY PLAN {sql}", values)))
        return query(sql, values)

    database.query = explained  # type: ignore[method-assign, assignment]
    for sender in ("ann@here.test", "ann@", "@here.test"):
        store.chosen(database, None, sender, after=0, most=10)
    found = ["message_sender" in plan or "message_sender_domain" in plan for plan in plans]
    assert found == [True, True, True], plans
    assert not [plan for plan in plans if "SCAN" in plan]


def test_an_index_of_the_first_layout_is_searched_by_sender_after_the_upgrade(tmp_path: Path) -> None:
    newer = ("review_at REAL NOT NULL DEFAULT 0", "warned INTEGER NOT NULL DEFAULT 0,")
    flow = "flow INTEGER NOT NULL DEFAULT 0,"
    create = (
        store.SCHEMA.create.partition("CREATE INDEX message_sender ")[0]
        .replace(f",\n        {newer[0]}", "")
        .replace(",\n        documents_crc INTEGER NOT NULL DEFAULT -1", "")
        .replace(newer[1], "")
        .replace(flow, "")
        .replace(", host_level)", ")")
    )
    create = "\n".join(line for line in create.splitlines() if "recipient_fair" not in line)
    create = create.replace("CREATE INDEX message_review ON message (review_at);", "")
    old = open_database(tmp_path / "old.db", Schema("queue", 1, create))
    with old.transaction():
        old.query("INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", message(1, "Ann@here.test")[:11])
        old.query("INSERT INTO recipient VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", recipient(1)[:9])
    old.close()
    new = open_database(tmp_path / "old.db", store.SCHEMA)
    assert store.overdue(new, 1.0, 10) == [1]
    assert store.messages(new, [1])[0][1][0].warned == 0
    assert store.messages(new, [1])[0][0].documents_crc == store.UNCHECKED
    assert store.chosen(new, None, "@here.test", after=0, most=10) == [1]
    new.close()


def test_a_recipient_that_was_redirected_is_found_under_its_new_destination(database: Database) -> None:
    write(database, messages=[message(1)], recipients=[recipient(1), recipient(1, rid=1)])
    write(database, rerouted=[("[192.0.2.1]:25", "", 7, 1, 1)])
    assert store.chosen(database, "[192.0.2.1]:25", None, after=0, most=10) == [1]
    assert [one.destination for one in store.several(database, [1])[0][1]] == ["there.test", "[192.0.2.1]:25"]


def test_the_oldest_of_a_destination_is_found_early_and_late_in_the_queue(database: Database) -> None:
    change = Change()
    for mid in range(1, 3001):
        change.recipients.append(RecipientRow(mid, 0, 0, "much.test", "", 0, 0.0, "", 0))
    change.recipients.append(RecipientRow(3001, 0, 0, "late.test", "", 0, 0.0, "", 0))
    for mid in (1, 3001):
        change.messages.append(MessageRow(mid, "a@b", b"%d" % mid, b"", "gateway-0", 1, "journal", "", 0, 0, 0))
    with database.transaction():
        store.write(database, change)
    assert store.oldest_for(database, "much.test") == b"1"
    assert store.oldest_for(database, "late.test") == b"3001"
    assert store.oldest_for(database, "none.test") is None


def test_the_place_of_deleted_mail_is_used_again(database: Database) -> None:
    def pages() -> int:
        row = database.first("PRAGMA page_count")
        assert row is not None
        return int(row[0] or 0)

    def fill(first: int) -> None:
        change = Change()
        for mid in range(first, first + 2000):
            change.messages.append(
                MessageRow(mid, f"a{mid}@b", b"x" * 200, b"y", "gateway-0", 1, "journal", "", 0, 0, 0)
            )
            change.recipients.append(RecipientRow(mid, 0, 0, f"d{mid % 50}.test", "", 0, 0.0, "", 0))
        with database.transaction():
            store.write(database, change)

    fill(1)
    full = pages()
    for first in (2001, 4001):
        with database.transaction():
            store.write(database, Change(removed=[(mid,) for mid in range(first - 2000, first)]))
        fill(first)
    assert pages() <= full * 1.1
