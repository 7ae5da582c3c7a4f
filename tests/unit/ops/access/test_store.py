"""`ops.access.store`: a bounded record that tells who was in, and failures that are counted together."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.sqlite import Database, open_database
from ops.access import store
from ops.access.store import Attempt


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "access.db", store.SCHEMA)
    yield opened
    opened.close()


def at(seconds: float, name: str = "ann", source: str = "192.0.2.7") -> Attempt:
    return Attempt(name, source, "cli", seconds)


def test_a_log_in_is_told_of_the_one_before_and_of_failures_since(database: Database) -> None:
    first, before = store.open_login(database, at(100), "key")
    assert before == {"failures": 0}
    store.close_login(database, first, 160)
    for second in (200, 201, 202):
        store.note_failure(database, at(second, source="203.0.113.9"), "password", "wrong password")
    _, before = store.open_login(database, at(300), "password")
    assert before == {"at": 100.0, "source": "192.0.2.7", "way": "key", "failures": 3}
    rows = store.history(database, 10, good=None)
    assert [(row["way"], row["at"], row["ended_at"], row["count"]) for row in rows] == [
        ("password", 300.0, None, 1),
        ("password", 200.0, 202.0, 3),
        ("key", 100.0, 160.0, 1),
    ]
    assert [row["good"] for row in store.history(database, 10, good=False)] == [False]
    assert store.history(database, 10, good=None, name="joe") == []


def test_failures_push_no_log_in_out_of_the_record(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "KEPT", 5)
    store.open_login(database, at(1), "key")
    for number in range(50):
        store.note_failure(database, at(10 + number, source=f"203.0.113.{number}"), "password", "wrong password")
    assert len(store.history(database, 100, good=False)) == 5
    assert len(store.history(database, 100, good=True)) == 1


def test_who_was_in_when_the_daemon_ended_is_not_in_for_ever(database: Database) -> None:
    store.open_login(database, at(1), "key")
    store.interrupt(database, "web")
    assert store.history(database, 1, good=True)[0]["reason"] == ""
    store.interrupt(database, "cli")
    assert store.history(database, 1, good=True)[0]["reason"] == "ended with the daemon"


def test_a_step_is_spent_forwards_only(database: Database) -> None:
    assert [store.spend_step(database, "ann", step) for step in (5, 5, 4, 6)] == [True, False, False, True]
    assert store.spend_step(database, "joe", 5)


def test_a_recovery_code_is_taken_once_by_each_user(database: Database) -> None:
    assert store.spend_code(database, "ann", "aa")
    assert not store.spend_code(database, "ann", "aa")
    assert store.spend_code(database, "joe", "aa")
