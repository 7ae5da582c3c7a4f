"""`mail.queue.tally`: counts by destination outlive the daemon, and are written little by little."""

from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.sqlite import Database, open_database
from mail.delivery.courier import Carried, Job
from mail.delivery.limit import Limits
from mail.queue import store
from mail.queue.memory import MOST_IDLE
from mail.queue.schedule import Scheduler
from mail.queue.tally.store import Tallied, TallyRow, tallies, write
from mail.queue.tally.tally import MOST, Tally
from tests.support.queue_machine import Machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path)
    yield one
    await one.close()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    one = open_database(tmp_path / "queue.db", store.SCHEMA)
    yield one
    one.close()


async def by_address(job: Job, dcid: int) -> Sequence[Carried]:
    answers = {"ok": ("delivered", 250, "2.0.0"), "no": ("hard", 550, "5.1.1"), "later": ("soft", 451, "4.3.2")}
    return [Carried(one.rid, *answers[one.address.partition("@")[0]], "text") for one in job.recipients]  # type: ignore[arg-type]


def counters(machine: Machine, host: str) -> dict[str, int]:
    assert machine.queue is not None
    return {name: n for name, n in machine.queue.views.hoststatus(host)["counters"].items() if n}


async def settled(machine: Machine, *addresses: str) -> None:
    before = dict(machine.counters.counts)
    for address in addresses:
        await machine.accept(address, sender="")

    def seen() -> bool:
        names = ("delivered_recips", "hard_bounced_recips", "soft_bounced_evts")
        return sum(machine.counters.counts.get(name, 0) - before.get(name, 0) for name in names) == len(addresses)

    await machine.until(seen)


EXPECTED = {
    "soft_bounced_evts": 1,
    "completed_recips": 3,
    "hard_bounced_recips": 1,
    "5xx_hard_bounced_recips": 1,
    "delivered_recips": 2,
}


async def test_counts_are_the_same_after_an_orderly_restart(machine: Machine) -> None:
    machine.courier.behave = by_address
    await machine.start()
    await settled(machine, "ok@one.test", "ok@one.test", "no@one.test", "later@one.test")
    assert counters(machine, "one.test") == EXPECTED
    await machine.stop()
    queue = await machine.start()
    assert counters(machine, "one.test") == EXPECTED
    shown = queue.views.tophosts("delivered_recipients")["hosts"][0]
    assert (shown["host"], shown["delivered_recipients"], shown["active_recipients"]) == ("one.test", 2, 1)
    await settled(machine, "ok@one.test")
    assert counters(machine, "one.test")["delivered_recips"] == 3


async def test_counts_of_which_the_checkpoint_knows_survive_a_crash(machine: Machine) -> None:
    machine.courier.behave = by_address
    queue = await machine.start()
    await settled(machine, "ok@one.test", "ok@one.test", "no@one.test", "later@one.test")
    tally = queue._settlement.tally
    tally._next_s = 0.0
    await machine.until(lambda: not tally._changed)
    await queue._checkpointer.make()
    await machine.crash()
    await machine.start()
    assert counters(machine, "one.test") == EXPECTED


async def test_counts_that_were_reset_stay_reset_over_a_crash(machine: Machine) -> None:
    machine.courier.behave = by_address
    queue = await machine.start()
    await settled(machine, "ok@one.test", "ok@two.test")
    await machine.stop()
    queue = await machine.start()
    await queue.verbs()["reset_counters"]({})
    assert counters(machine, "one.test") == {}
    await settled(machine, "ok@two.test")
    queue._settlement.tally._next_s = 0.0
    await queue._checkpointer.make()
    await machine.crash()
    queue = await machine.start()
    found = [(one["host"], one["delivered_recipients"]) for one in queue.views.tophosts()["hosts"]]
    assert found == [("two.test", 1)]


def row(number: int, at: float = 1.0) -> TallyRow:
    return TallyRow(f"d{number}.test", "", at, 0, 1, 0, "expired_hard_bounced_recips=2")


def put(database: Database, most: int = 100, **change: Any) -> None:
    with database.transaction():
        write(database, Tallied(**change), most)


def test_those_that_were_quiet_longest_make_room(database: Database) -> None:
    put(database, rows=[row(number, at=float(number)) for number in range(5)], most=3)
    assert [one.destination for one in tallies(database)] == ["d4.test", "d3.test", "d2.test"]
    put(database, gone=[("d3.test", "")], rows=[row(2, at=9.0)])
    assert [one.destination for one in tallies(database)] == ["d2.test", "d4.test"]
    put(database, wipe=True, rows=[row(7)])
    assert tallies(database) == [row(7)]


def test_only_what_changed_is_written_and_never_much_at_a_time() -> None:
    scheduler, tally = Scheduler(lambda _name: Limits()), Tally(lambda: 5.0, every_s=0.0)
    assert tally.gather() is None
    for number in range(MOST + 10):
        tally.counts(scheduler.destination((f"d{number}.test", ""))).delivered_recips += 1
    first, second = tally.gather(), tally.gather()
    assert first is not None
    assert second is not None
    assert (len(first.rows), len(second.rows), tally.due) == (MOST, 10, False)
    assert first.rows[0] == TallyRow("d0.test", "", 5.0, 0, 1, 0, "")


def test_what_memory_lets_go_of_is_taken_out_of_the_index() -> None:
    scheduler, tally = Scheduler(lambda _name: Limits()), Tally(lambda: 5.0, every_s=0.0)
    one = scheduler.destination(("d.test", ""))
    tally.counts(one).delivered_recips += 1
    tally.forget(one.key)
    gathered = tally.gather()
    assert gathered is not None
    assert (gathered.gone, gathered.rows) == ([("d.test", "")], [])


def test_restoring_is_bounded_and_takes_the_last_active_and_those_with_mail() -> None:
    scheduler, tally = Scheduler(lambda _name: Limits()), Tally(lambda: 5.0, every_s=0.0)
    last = MOST_IDLE + 4
    scheduler.destination((f"d{last}.test", "")).active = 1
    tally.restore([row(number, at=-float(number)) for number in range(last + 1)], scheduler)
    assert len(scheduler.destinations) == MOST_IDLE + 1
    assert scheduler.destinations[f"d{last}.test", ""].counts.hard == {"expired_hard_bounced_recips": 2}
    gathered = tally.gather()
    assert gathered is not None
    assert len(gathered.gone) == 4
