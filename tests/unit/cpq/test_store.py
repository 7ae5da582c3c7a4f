"""One suite for every store: a second database joins by adding its factory to STORES."""

import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from core.sqlite import SchemaRefused, open_database
from cpq.held import Arrival, NewHold, Order, QuarantineStore, Search, StaysHeld, Verdict
from cpq.state import Cause, Event, NotPossible, State
from cpq.store import SCHEMA, SqliteStore

STORES: dict[str, Callable[[Path], QuarantineStore]] = {"sqlite": lambda path: SqliteStore(path / "quarantine.db")}


@pytest.fixture(params=sorted(STORES))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QuarantineStore]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


def hold(name: str, expires_at: float = 1000.0) -> NewHold:
    return NewHold(name, name, f"message filter:{name}", "matched", expires_at)


def arrival(number: int, *holds: NewHold, **fields: object) -> Arrival:
    one = Arrival(
        id=f"{number:024d}",
        mid=number,
        peer="ESA-1",
        transfer_id=number.to_bytes(16, "big"),
        origin_serial="ESA-1",
        origin_mid=number + 1000,
        sender=f"Sender{number}@example.com",
        recipients=(f"r{number}@example.test", "Second@example.test"),
        subject=f"Grüße Nr. {number} 100%",
        size=100,
        sha256=b"h" * 32,
        received_at=5.0,
        held_at=10.0,
        hold_count=1,
        holds=holds or (hold("Policy"),),
        frame=b"{}",
    )
    return dataclasses.replace(one, **fields)  # type: ignore[arg-type]


def order(number: int, event: Event, quarantine: str = "", cause: Cause = Cause.MANUAL) -> Order:
    return Order(f"{number:024d}", event, cause, quarantine)


async def test_a_message_is_found_with_all_its_facts(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1, hold("Policy"), hold("Virus", 0.0))])
    found = await store.catalogue.message(f"{1:024d}")
    assert found is not None
    assert (found.mid, found.origin_serial, found.origin_mid, found.size) == (1, "ESA-1", 1001, 100)
    assert found.recipients == ("r1@example.test", "Second@example.test")
    assert [(h.quarantine, h.reason, h.state, h.expires_at) for h in found.holds] == [
        ("Policy", "message filter:Policy", State.HELD, 1000.0),
        ("Virus", "message filter:Virus", State.HELD, 0.0),
    ]
    assert found.frame == b"{}"
    assert await store.catalogue.message("nobody") is None


async def test_a_repeated_transfer_id_is_stored_once_only_if_it_is_the_same_message(store: QuarantineStore) -> None:
    first = arrival(1)
    again = dataclasses.replace(arrival(2), transfer_id=first.transfer_id)
    taken = await store.arrivals.take(
        [
            first,
            again,
            dataclasses.replace(again, id="c", size=101),
            dataclasses.replace(again, id="d", sha256=b"x" * 32),
            dataclasses.replace(again, id="e", peer="ESA-2"),
        ]
    )
    assert [one.verdict for one in taken] == [Verdict.STORED, Verdict.REPEATED, *[Verdict.CONFLICT] * 3]
    assert taken[1].mid == 1
    assert len(await store.catalogue.find(Search())) == 1


async def test_an_id_outlives_the_message_until_its_sender_settles_it(store: QuarantineStore) -> None:
    one = arrival(1)
    await store.arrivals.take([one])
    await store.decisions.apply([order(1, Event.DELETE)], 20.0)
    await store.decisions.purge(1e12)
    assert (await store.arrivals.take([one]))[0].verdict is Verdict.REPEATED
    assert await store.arrivals.settle("ESA-2", [one.transfer_id]) == 0
    assert await store.arrivals.settle("ESA-1", [one.transfer_id, b"?" * 16]) == 1
    assert await store.arrivals.known([one.transfer_id]) == {}


async def test_a_batch_that_fails_stores_nothing(store: QuarantineStore) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - every database has its own
        await store.arrivals.take([arrival(1), dataclasses.replace(arrival(2), id=f"{1:024d}")])
    assert await store.catalogue.find(Search()) == []
    assert await store.arrivals.known([arrival(1).transfer_id]) == {}


@pytest.mark.parametrize(
    ("search", "found"),
    [
        (Search(), [4, 3, 2, 1]),
        (Search(quarantine="Virus"), [4, 2]),
        (Search(quarantine="Vir"), []),
        (Search(sender="SENDER3"), [3]),
        (Search(recipient="second@"), [4, 3, 2, 1]),
        (Search(recipient="R2@"), [2]),
        (Search(subject="GRÜSSE nr. 1 100%"), [1]),
        (Search(subject="%"), [4, 3, 2, 1]),
        (Search(subject="_"), []),
        (Search(quarantine="Virus", sender="sender2"), [2]),
        (Search(sender="' OR 1=1 --"), []),
    ],
)
async def test_search(store: QuarantineStore, search: Search, found: list[int]) -> None:
    await store.arrivals.take([arrival(n, hold("Virus" if n % 2 == 0 else "Policy")) for n in (3, 1, 4, 2)])
    assert [one.mid for one in await store.catalogue.find(search)] == found


@pytest.mark.parametrize("quarantine", ["", "Policy"])
async def test_paging_shows_each_message_once_while_new_ones_arrive(store: QuarantineStore, quarantine: str) -> None:
    await store.arrivals.take([arrival(n) for n in range(1, 8)])
    seen, after = [], ""
    while page := await store.catalogue.find(Search(quarantine=quarantine, limit=3, after=after)):
        seen += [one.mid for one in page]
        after = page[-1].id
        await store.arrivals.take([arrival(100 + len(seen))])
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_a_message_leaves_when_no_quarantine_holds_it(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1, hold("Policy"), hold("Virus"))])
    (first,) = await store.decisions.apply([order(1, Event.RELEASE, "Policy")], 25.5)
    assert (first.quarantine, first.held_s, first.resolved) == ("Policy", 15.5, None)
    assert await store.outbox.leaving(10) == []
    assert await store.catalogue.find(Search(quarantine="Policy")) == []
    assert len(await store.catalogue.find(Search(quarantine="Virus"))) == 1
    (second,) = await store.decisions.apply([order(1, Event.RELEASE)], 30.0)
    assert (second.quarantine, second.resolved) == ("Virus", State.RELEASED)
    (leaving,) = await store.outbox.leaving(10)
    assert (leaving.id, leaving.mid, leaving.target, len(leaving.transfer_id)) == (f"{1:024d}", 1, "ESA-1", 16)


async def test_one_delete_vetoes_delivery(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1, hold("Policy"), hold("Virus"))])
    await store.decisions.apply([order(1, Event.DELETE, "Virus")], 20.0)
    (last,) = await store.decisions.apply([order(1, Event.RELEASE)], 21.0)
    assert last.resolved is State.DELETED
    assert await store.outbox.leaving(10) == []
    assert await store.outbox.removals(10) == [f"{1:024d}"]


async def test_a_release_is_idempotent_and_makes_one_outbox_row(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1)])
    assert len(await store.decisions.apply([order(1, Event.RELEASE), order(1, Event.RELEASE)], 20.0)) == 1
    assert await store.decisions.apply([order(1, Event.RELEASE)], 21.0) == []
    assert len(await store.outbox.leaving(10)) == 1


async def test_manual_orders_are_carried_out_all_or_none(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1), arrival(2), arrival(3, hold_count=6)])
    await store.decisions.apply([order(2, Event.DELETE)], 15.0)
    for wrong, error in ((order(9, Event.RELEASE), KeyError), (order(2, Event.RELEASE), NotPossible)):
        with pytest.raises(error):
            await store.decisions.apply([order(1, Event.RELEASE), wrong], 20.0)
    with pytest.raises(StaysHeld):
        await store.decisions.apply([order(1, Event.RELEASE), order(3, Event.RELEASE)], 20.0)
    with pytest.raises(KeyError):
        await store.decisions.apply([order(1, Event.RELEASE, "Virus")], 20.0)
    assert [one.mid for one in await store.catalogue.find(Search())] == [3, 1]
    assert await store.outbox.leaving(10) == []


async def test_sweeps_pass_over_what_somebody_else_decided_first(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1), arrival(2), arrival(3, hold_count=6)])
    await store.decisions.apply([order(2, Event.DELETE)], 15.0)
    orders = [order(n, Event.RELEASE, "Policy", Cause.EXPIRED) for n in (2, 3, 9, 1)]
    assert [one.mid for one in await store.decisions.apply(orders, 20.0)] == [1]


async def test_what_is_due_comes_soonest_first_and_what_never_expires_never(store: QuarantineStore) -> None:
    await store.arrivals.take(
        [arrival(1, hold("A", 50.0), hold("B", 20.0)), arrival(2, hold("A", 30.0)), arrival(3, hold("A", 0.0))]
    )
    assert [(due.id[-1], due.quarantine) for due in await store.decisions.due(40.0, 10)] == [("1", "B"), ("2", "A")]
    assert [(due.id[-1], due.quarantine) for due in await store.decisions.due(40.0, 1)] == [("1", "B")]
    assert [(due.id[-1], due.size) for due in await store.decisions.soonest(["A"], 10)] == [("2", 100), ("1", 100)]
    assert await store.decisions.soonest([], 10) == []


async def test_a_message_counts_once_for_space_until_it_has_left(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1, hold("A"), hold("B")), arrival(2)])
    assert await store.catalogue.held() == (2, 200)
    await store.decisions.apply([order(1, Event.DELETE, "A")], 20.0)
    assert await store.catalogue.held() == (2, 200)
    await store.decisions.apply([order(1, Event.DELETE)], 20.0)
    assert (await store.catalogue.held())[1] == 100


async def test_content_is_named_until_its_file_is_reported_gone(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1), arrival(2)])
    await store.decisions.apply([order(1, Event.RELEASE)], 20.0)
    (leaving,) = await store.outbox.leaving(10)
    assert await store.outbox.removals(10) == []
    await store.outbox.handed_over([leaving.transfer_id])
    await store.outbox.handed_over([leaving.transfer_id])
    assert await store.outbox.leaving(10) == []
    assert await store.outbox.removals(10) == [leaving.id]
    assert await store.arrivals.content_names() == {f"{1:024d}", f"{2:024d}"}
    await store.outbox.removed([leaving.id])
    assert await store.arrivals.content_names() == {f"{2:024d}"}


async def test_purge_forgets_only_what_left_and_was_handed_over(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1), arrival(2), arrival(3)])
    await store.decisions.apply([order(1, Event.RELEASE), order(2, Event.DELETE)], 20.0)
    assert await store.decisions.purge(20.0) == 0
    assert await store.decisions.purge(21.0) == 1
    assert await store.catalogue.message(f"{1:024d}") is not None
    assert await store.catalogue.message(f"{2:024d}") is None


async def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    for number in (1, 2):
        store = SqliteStore(tmp_path / "q.db")
        await store.arrivals.take([arrival(number)])
        store.close()
    store = SqliteStore(tmp_path / "q.db")
    assert [one.mid for one in await store.catalogue.find(Search())] == [2, 1]
    store.close()


def test_a_file_of_a_release_that_cannot_be_shared_with_is_refused(tmp_path: Path) -> None:
    newer = dataclasses.replace(SCHEMA, version=9, compatible=9)
    open_database(tmp_path / "q.db", newer).close()
    with pytest.raises(SchemaRefused):
        SqliteStore(tmp_path / "q.db")


async def test_what_one_quarantine_holds_is_counted(store: QuarantineStore) -> None:
    await store.arrivals.take([arrival(1, hold("Policy"), hold("Virus")), arrival(2, hold("Virus"))])
    assert [await store.catalogue.held_in(name) for name in ("Policy", "Virus", "Legal")] == [1, 2, 0]
    await store.decisions.apply([order(2, Event.RELEASE)], 20.0)
    assert await store.catalogue.held_in("Virus") == 1
