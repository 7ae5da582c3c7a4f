"""`core.sqlite`: opening, refusing, undoing and the thread."""

import shutil
import threading
from pathlib import Path

import pytest

from core.sqlite import (
    ConstraintFailed,
    Database,
    DatabaseBusy,
    DatabaseThread,
    Schema,
    SchemaRefused,
    open_database,
)

THINGS = Schema("things", 1, "CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL)")


def test_opens_durably(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a.db", THINGS)
    assert database.first("PRAGMA journal_mode") == ("wal",)
    assert database.first("PRAGMA synchronous") == (2,)
    assert database.first("PRAGMA foreign_keys") == (1,)
    database.close()


def test_a_transaction_that_raises_changes_nothing(tmp_path: Path) -> None:
    database = open_database(tmp_path / "a.db", THINGS)
    with pytest.raises(ConstraintFailed), database.transaction():
        database.many("INSERT INTO thing (name) VALUES (?)", [("a",), ("b",), ("a",)])
    assert database.query("SELECT * FROM thing") == []
    with database.transaction():
        database.query("INSERT INTO thing (name) VALUES (:name)", {"name": "a"})
        assert database.changed == 1
    database.close()
    again = open_database(tmp_path / "a.db", THINGS)
    assert again.query("SELECT id, name FROM thing") == [(1, "a")]
    again.close()


def test_another_stores_file_is_refused(tmp_path: Path) -> None:
    open_database(tmp_path / "a.db", THINGS).close()
    with pytest.raises(SchemaRefused, match="is not a queue database"):
        open_database(tmp_path / "a.db", Schema("queue", 1, "CREATE TABLE q (id)"))


@pytest.mark.parametrize("harm", ["emptied", "removed"])
def test_a_database_that_somebody_emptied_or_removed_does_not_begin_anew_over_its_mail(
    tmp_path: Path, harm: str
) -> None:
    """It did, and the next step of the start removed all content that no row named: the whole quarantine."""
    content, path = tmp_path / "content", tmp_path / "a.db"
    content.mkdir()
    open_database(path, THINGS, content=content).close()
    (content / "ab").mkdir()
    (content / "ab" / "mail").write_bytes(b"Subject: held")
    open_database(path, THINGS, content=content).close()
    path.write_bytes(b"") if harm == "emptied" else path.unlink()
    for _ in range(2):
        with pytest.raises(SchemaRefused, match="holds mail"):
            open_database(path, THINGS, content=content)


def test_an_older_release_may_share_a_compatible_file_but_not_an_incompatible_one(tmp_path: Path) -> None:
    newer = Schema("things", 3, "CREATE TABLE thing (id, name, colour)", compatible=2)
    open_database(tmp_path / "a.db", newer).close()
    open_database(tmp_path / "a.db", Schema("things", 2, "")).close()
    with pytest.raises(SchemaRefused, match="needs a release that knows layout 2; this one knows 1"):
        open_database(tmp_path / "a.db", THINGS)


def test_an_old_file_is_upgraded_step_by_step(tmp_path: Path) -> None:
    open_database(tmp_path / "a.db", THINGS).close()
    steps = {1: "ALTER TABLE thing ADD COLUMN colour", 2: "CREATE TABLE more (id)"}
    database = open_database(tmp_path / "a.db", Schema("things", 3, "", upgrades=steps))
    assert database.query("SELECT version FROM gatepost_schema") == [(3,)]
    assert database.query("SELECT id, colour FROM thing") == []
    database.close()
    with pytest.raises(SchemaRefused, match="layout 3 is too old"):
        open_database(tmp_path / "a.db", Schema("things", 5, ""))


def test_a_held_database_is_busy_after_the_time_out(tmp_path: Path) -> None:
    first = open_database(tmp_path / "a.db", THINGS)
    second = open_database(tmp_path / "a.db", THINGS, busy_timeout_s=0.01)
    with first.transaction(), pytest.raises(DatabaseBusy), second.transaction():
        pass
    with second.transaction():
        pass
    first.close()
    second.close()


async def test_the_thread_works_in_order_and_off_the_loop(tmp_path: Path) -> None:
    thread = DatabaseThread(tmp_path / "a.db", THINGS)

    def insert(database: Database, name: str) -> str:
        database.query("INSERT INTO thing (name) VALUES (?)", (name,))
        return threading.current_thread().name

    early = thread.submit(insert, "a")
    assert await thread.change(insert, "b") != threading.current_thread().name
    assert early.done()
    with pytest.raises(ConstraintFailed):
        await thread.change(insert, "a")
    assert await thread.run(Database.query, "SELECT name FROM thing ORDER BY id") == [("a",), ("b",)]
    thread.close()


@pytest.mark.parametrize("left", ["closed", "by a crash"])
def test_a_file_that_is_too_new_is_refused_without_a_touch(left: str, tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    database = open_database(path, Schema("things", 3, "CREATE TABLE thing (id)", compatible=2))
    with database.transaction():
        database.query("INSERT INTO thing VALUES (1)")
    if left == "closed":
        database.close()
    else:
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for file in tmp_path.glob("a.db*"):
            shutil.copy(file, crashed)
        path = crashed / "a.db"
        database.close()
        assert path.with_name("a.db-wal").stat().st_size
    before = _octets(path.parent)
    with pytest.raises(SchemaRefused, match="has layout 3, which needs a release that knows layout 2"):
        open_database(path, THINGS)
    assert _octets(path.parent) == before


def _octets(folder: Path) -> dict[str, bytes]:
    """Read all but the index of the log, which lies in memory that processes share."""
    return {file.name: file.read_bytes() for file in folder.glob("a.db*") if not file.name.endswith("-shm")}
