"""`mail.queue.documents`: a row of the index that is not what was written is reported, shown, and never delivered."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.sqlite import Schema, open_database
from mail.queue import store
from mail.queue.documents import DAMAGED, trouble_of
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine
from tests.unit.mail.queue.test_operate import numbers, operate

DOWN = TemporaryFailure(Reply(451, "4.4.1", "nobody there"), "nobody there")


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path)
    yield one
    await one.close()


def alter(machine: Machine, mid: int, old: bytes, new: bytes, column: str = "accepted") -> None:
    """Change octets of a row behind the back of the queue, which is stopped."""
    database = open_database(machine.root / "spool" / "queue" / "queue.db", store.SCHEMA)
    row = database.first(f"SELECT {column} FROM message WHERE mid = ?", (mid,))
    assert row is not None
    assert isinstance(row[0], bytes)
    assert old in row[0]
    with database.transaction():
        database.query(f"UPDATE message SET {column} = ? WHERE mid = ?", (row[0].replace(old, new), mid))
    database.close()


async def queued(machine: Machine, *recipients: str) -> list[int]:
    """Have a message for each recipient in the index of a queue that is stopped again."""
    machine.courier.refuse = DOWN
    queue = await machine.start()
    mids = [await machine.accept(one) for one in recipients]
    await machine.until(lambda: len(queue._scheduler.destinations) and not queue._book.messages)
    await machine.stop()
    machine.courier.refuse = None
    return mids


@pytest.mark.parametrize(
    "altered", [(b"bob@there.test", b"eve@there.test"), (b"bob@there.test", b"\xff\xfeb@there.test")]
)
async def test_mail_went_out_as_flipped_bits_of_its_row_said(machine: Machine, altered: tuple[bytes, bytes]) -> None:
    """To another recipient; or, when its document could not be read, it was in no list and no trouble of status."""
    good, bad = await queued(machine, "ann@there.test", "bob@there.test")
    alter(machine, bad, *altered)
    machine.time += 100_000
    queue = await machine.start()
    verbs = queue.verbs()
    await verbs["deliver_now"]({"all": True})
    await machine.until(lambda: machine.courier.mids() == [good] and bad in queue._book.damaged)
    shown = (await verbs["showrecipients"]({}))["recipients"]
    assert [(one["mid"], one["sender"], one["recipient"]) for one in shown] == [(str(bad), "a@here.test", "")]
    assert "row" in shown[0][DAMAGED]
    status = await verbs["status"]({})
    assert status["troubles"] == [trouble_of({bad: ""})]
    assert str(bad) in status["troubles"][0]
    with pytest.raises(GatepostError, match=r"is damaged: .*; removemessage takes it away"):
        await verbs["message_piece"]({"mid": str(bad)})
    assert (await verbs["message"]({"mid": str(bad)}))["recipients"][0]["destination"] == "there.test"
    for action in ("bounce", "redirect"):
        assert numbers(await operate(machine, action, to="other.test")) == ("done", 0, 0, 0)
    assert machine.courier.mids() == [good]
    assert len(machine.log.having(f"MID {bad} in the queue's index is damaged")) == 1


async def test_what_is_damaged_is_taken_away_by_its_mid(machine: Machine) -> None:
    (bad,) = await queued(machine, "bob@there.test")
    alter(machine, bad, b"deliver", b"deliveR", "outcome")
    queue = await machine.start()
    verbs = queue.verbs()
    assert len((await verbs["showrecipients"]({}))["recipients"]) == 1
    assert numbers(await operate(machine, "delete", mids=[str(bad)])) == ("done", 1, 1, 0)
    assert (await verbs["showrecipients"]({}))["recipients"] == []
    assert (await verbs["status"]({}))["troubles"] == []
    assert (await verbs["hoststatus"]({"host": "there.test"}))["gauges"]["active_recips"] == 0
    await machine.stop()
    queue = await machine.start()
    assert not queue._loads
    assert (await queue.verbs()["showrecipients"]({}))["recipients"] == []
    assert machine.courier.mids() == []


async def test_one_of_its_recipients_alone_is_not_taken_out_of_a_damaged_message(machine: Machine) -> None:
    machine.courier.refuse = DOWN
    queue = await machine.start()
    bad = await machine.accept("ann@one.test", "bob@two.test")
    await machine.until(lambda: len(queue._scheduler.destinations) == 2 and not queue._book.messages)
    await machine.stop()
    alter(machine, bad, b"bob@two.test", b"bob@six.test")
    await machine.start()
    assert numbers(await operate(machine, "delete", host="two.test")) == ("done", 0, 0, 0)
    assert numbers(await operate(machine, "delete")) == ("done", 1, 2, 0)


async def test_mail_of_a_release_without_checksums_is_delivered(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    (mid,) = await queued(machine, "bob@there.test")
    path = tmp_path / "spool" / "queue" / "queue.db"
    database = open_database(path, store.SCHEMA)
    database.query("ALTER TABLE message DROP COLUMN documents_crc")
    database.close()
    older = store.SCHEMA.create.replace(",\n        documents_crc INTEGER NOT NULL DEFAULT -1", "")
    old = open_database(path.with_name("old.db"), Schema("queue", 3, older))
    for table in ("message", "recipient", "position"):
        old.query(f"DELETE FROM {table}")
        old.query(f"ATTACH '{path}' AS new")
        old.query(f"INSERT INTO {table} SELECT * FROM new.{table}")
        old.query("DETACH new")
    old.query("UPDATE state SET value = 0")
    old.close()
    for name in ("queue.db", "queue.db-wal", "queue.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    path.with_name("old.db").rename(path)
    queue = await machine.start()
    await queue.verbs()["deliver_now"]({"all": True})
    await machine.until(lambda: machine.courier.mids() == [mid])
    assert not queue._book.damaged
    await machine.close()
