"""The bastion's store keeps its promises on every database that it can use."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from core import ssh
from core.errors import GatepostError
from tests.support import postgresql
from tests.support.bastion_store import Clock, engineer, machine, open_case, publication
from tests.support.need import needs
from tunnel.bastion.store import CaseSerial, DatabaseAway, Grant, Node, Registered, Store
from tunnel.bastion.store.engine import Engine
from tunnel.bastion.store.postgresql import PostgresqlEngine
from tunnel.bastion.store.sqlite import SqliteEngine


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def server() -> Iterator[postgresql.Server]:
    with postgresql.server() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs(postgresql.INITDB))])
async def store(request: pytest.FixtureRequest, tmp_path: Path, time: Clock) -> AsyncIterator[Store]:
    engine: Engine
    (tmp_path / "state").mkdir()
    if request.param == "sqlite":
        engine = SqliteEngine(tmp_path / "state" / "bastion.db")
    else:
        engine = PostgresqlEngine(request.getfixturevalue("server").database())
    opened = Store(engine, tmp_path / "state" / "registry", time)
    await opened.begin()
    yield opened
    await opened.close()


async def _refused(status: int, words: str, work: object) -> None:
    with pytest.raises(GatepostError, match=words) as caught:
        await work  # type: ignore[misc]
    assert caught.value.status == status


async def test_an_enrolled_appliance_is_known_by_its_lower_case_serial(store: Store) -> None:
    enrolled = await store.appliances.enroll(machine("564D00AA-1"))
    assert await store.appliances.get("564d00aa-1") == enrolled
    assert await store.appliances.all() == [enrolled]
    assert await store.appliances.get("564D00AA-1") is None
    assert await store.appliances.get("' OR 1 = 1 --") is None


async def test_the_same_keys_again_change_nothing_and_other_keys_need_a_word(store: Store) -> None:
    first = machine("sn-1")
    kept = await store.appliances.enroll(first)
    assert await store.appliances.enroll(first) == kept
    other = machine("sn-1")
    await _refused(65, "cloned or replaced", store.appliances.enroll(other))
    assert (await store.appliances.enroll(other, replace=True)).tunnel_key == other.tunnel_key
    stolen = machine("sn-1", tunnel_key=other.tunnel_key, host_key=other.host_key)
    await _refused(65, "cloned or replaced", store.appliances.enroll(stolen))


async def test_an_exchange_key_may_be_added_to_an_old_enrolment(store: Store) -> None:
    new = machine("sn-1")
    await store.appliances.enroll(machine("sn-1", exchange_key="", tunnel_key=new.tunnel_key, host_key=new.host_key))
    assert (await store.appliances.enroll(new)).exchange_key == new.exchange_key


async def test_what_cannot_be_enrolled(store: Store) -> None:
    key = ssh.public_text(ssh.make_key())
    for wanted in (
        machine("*"),
        machine("sn-1", tunnel_key="x"),
        machine("sn-1", tunnel_key=key, host_key=key),
        machine("sn-1", exchange_key="AAAA"),
        machine("sn-1", exchange_key="?"),
    ):
        await _refused(64, ".", store.appliances.enroll(wanted))


async def _come(store: Store, generation: int, nonce: str, **facts: object) -> Registered:
    return await store.appliances.register("sn-1", generation, nonce, publication(**facts))  # type: ignore[arg-type]


async def test_each_registration_moves_the_generation_on(store: Store) -> None:
    await store.appliances.enroll(machine("sn-1"))
    first = await _come(store, 0, "")
    assert (first.why, first.generation, len(first.nonce)) == ("", 1, 32)
    assert await store.appliances.confirm("sn-1", 1)
    assert await store.appliances.confirm("sn-1", 1)
    assert not await store.appliances.confirm("sn-1", 2)
    second = await _come(store, 1, first.nonce)
    assert (second.why, second.generation) == ("", 2)
    assert second.nonce != first.nonce
    assert (await store.appliances.get("sn-1")).generation == 1  # type: ignore[union-attr]


async def test_a_crash_between_the_steps_locks_no_good_appliance_out(store: Store) -> None:
    await store.appliances.enroll(machine("sn-1"))
    lost_answer = await _come(store, 0, "")
    again = await _come(store, 0, "")
    assert (again.generation, again.nonce) == (lost_answer.generation, lost_answer.nonce)
    lost_confirmation = await _come(store, 1, again.nonce)
    assert (lost_confirmation.why, lost_confirmation.generation) == ("", 2)
    assert (await _come(store, 1, again.nonce)).nonce == lost_confirmation.nonce
    assert (await _come(store, 2, lost_confirmation.nonce)).why == ""


async def test_a_copy_of_a_used_disk_freezes_the_serial_until_a_human_has_looked(store: Store) -> None:
    await store.appliances.enroll(machine("sn-1"))
    first = await _come(store, 0, "")
    await store.appliances.confirm("sn-1", 1)
    copy = await _come(store, 0, "")
    assert (copy.frozen, copy.clone) == (True, True)
    assert "copy of its disk" in copy.why
    good = await _come(store, 1, first.nonce)
    assert (good.frozen, good.clone, good.generation) == (True, False, 0)
    assert (await store.appliances.thaw("sn-1")).frozen_at == 0
    back = await _come(store, 1, first.nonce)
    assert (back.why, back.generation) == ("", 2)
    await store.appliances.confirm("sn-1", 2)
    assert (await _come(store, 0, "")).clone


@pytest.mark.parametrize("came", [(1, "guessed"), (0, "guessed"), (7, "")])
async def test_a_generation_that_was_never_given_is_a_copy(store: Store, came: tuple[int, str]) -> None:
    await store.appliances.enroll(machine("sn-1"))
    await _come(store, 0, "")
    assert (await _come(store, *came)).clone


async def test_one_of_two_copies_that_come_at_once_is_found(store: Store) -> None:
    await store.appliances.enroll(machine("sn-1"))
    both = await asyncio.gather(_come(store, 0, ""), _come(store, 0, ""))
    assert both[0] == both[1]
    await store.appliances.confirm("sn-1", 1)
    one = await _come(store, 1, both[0].nonce)
    await store.appliances.confirm("sn-1", 2)
    assert (await _come(store, 1, both[1].nonce)).clone
    assert (await _come(store, 2, one.nonce)).frozen


async def test_an_activation_lives_no_longer_than_the_bastions_clock_allows(store: Store, time: Clock) -> None:
    await store.appliances.enroll(machine("sn-1"))
    begun = time.at
    first = await _come(store, 0, "", until_at=begun + 9e9)
    assert first.until_at == begun + 168 * 3600 + 300
    time.at += 100 * 3600
    again = await _come(store, 1, first.nonce, until_at=begun + 9e9)
    assert again.until_at == first.until_at
    other = await _come(store, 2, again.nonce, activation_id="a-2", until_at=time.at + 60)
    assert other.until_at == time.at + 60


async def test_the_last_publication_is_kept_until_it_is_withdrawn(store: Store, time: Clock) -> None:
    await store.appliances.enroll(machine("sn-1"))
    assert await store.appliances.published("sn-1") is None
    await _come(store, 0, "", hops=("10.1.1.5",), key_id=3, day=2517)
    published = await store.appliances.published("sn-1")
    assert published is not None
    assert (published.hops, published.key_id, published.day) == (("10.1.1.5",), 3, 2517)
    assert (published.fingerprint, published.first_at, published.withdrawn_at) == ("ab12", time.at, 0)
    await store.appliances.withdraw("sn-1", "a-0")
    assert (await store.appliances.published("sn-1")).withdrawn_at == 0  # type: ignore[union-attr]
    await store.appliances.withdraw("sn-1", "a-1")
    assert (await store.appliances.published("sn-1")).withdrawn_at == time.at  # type: ignore[union-attr]


async def test_a_grant_of_a_former_activation_is_known_as_such(store: Store, time: Clock) -> None:
    await store.appliances.enroll(machine("sn-1"))
    await _come(store, 0, "")
    published = await store.appliances.published("sn-1")
    assert published is not None

    def superseded(fingerprint: str, now: float = 0.0) -> bool:
        grant = Grant(
            case="SR1", serial="sn-1", grant_id="g", fingerprint=fingerprint, mode="tunnel", until_at=0, given_at=0
        )
        return published.supersedes(grant, now or time.at)

    assert (superseded("ab12"), superseded("cd34")) == (False, True)
    assert not superseded("cd34", published.until_at), "what has run out says nothing about what came after it"


async def test_a_case_needs_known_appliances_and_engineers(store: Store) -> None:
    await store.engineers.put(engineer("ana"))
    await _refused(69, "bastion enroll SN-1", store.cases.open("SR1", [CaseSerial(serial="sn-1")], ["ana"]))
    assert await store.cases.get("SR1") is None
    await store.appliances.enroll(machine("sn-1"))
    await _refused(69, "engineer add eva", store.cases.open("SR1", [CaseSerial(serial="sn-1")], ["eva"]))
    behind = CaseSerial(serial="sn-1", via="sn-2", address="10.1.1.5")
    await _refused(65, "add --serial SN-2", store.cases.open("SR1", [behind], ["ana"]))
    opened = await store.cases.open("SR1", [CaseSerial(serial="sn-1")], ["ana"])
    assert (opened.engineers, [one.serial for one in opened.serials], opened.approved_at) == (("ana",), ["sn-1"], 0)


async def test_a_case_is_approved_by_somebody_else_and_what_is_added_needs_it_again(store: Store) -> None:
    await open_case(store)
    await _refused(77, "second person", store.cases.approve("SR1", "ana"))
    await _refused(69, "not known", store.cases.approve("SR1", "nobody"))
    await _refused(69, "case open SR2", store.cases.approve("SR2", "eva"))
    assert (await store.cases.approve("SR1", "eva")).approved_by == "eva"
    same = await store.cases.open("SR1", [CaseSerial(serial="sn-1")], ["ana"])
    assert same.approved_by == "eva"
    assert (await store.cases.open("SR1", [], ["eva"])).approved_at == 0
    await store.engineers.disable("eva")
    await _refused(69, "disabled", store.engineers.known("eva"))


async def test_grants_are_one_per_appliance_and_go_with_the_case(store: Store, time: Clock) -> None:
    await open_case(store)

    def given(grant_id: str, serial: str = "sn-1") -> Grant:
        facts = {"fingerprint": "ab", "mode": "tunnel", "until_at": time.at + 60, "given_at": time.at}
        return Grant(case="SR1", serial=serial, grant_id=grant_id, **facts)  # type: ignore[arg-type]

    await _refused(69, "not of case SR1", store.cases.grant(given("g-0", "sn-9")))
    assert await store.cases.grant(given("g-1")) is None
    assert await store.cases.grant(given("g-1")) is None
    assert await store.cases.grant(given("g-2")) == given("g-1")
    assert await store.cases.granted("SR1", "sn-1") == given("g-2")
    closed, gone = await store.cases.close("SR1")
    assert (closed.closed_at, gone) == (time.at, [given("g-2")])
    assert await store.cases.grants("SR1") == []
    await _refused(69, "is closed", store.cases.close("SR1"))
    await _refused(69, "is closed", store.cases.open("SR1", [], []))
    assert await store.cases.all() == []
    assert await store.cases.all(closed=True) == [closed]


def _node(name: str, until_at: float, epoch: str = "e1") -> Node:
    return Node(name=name, epoch=epoch, address=f"127.62.0.1:{len(name)}", until_at=until_at)


async def test_the_newest_seat_counts_while_its_node_lives(store: Store, time: Clock) -> None:
    one, other = _node("one", time.at + 10), _node("other", time.at + 20)
    for node in (one, other):
        await store.seats.lease(node)
    assert await store.seats.take(one, "sn-1", "c1") is None
    former = await store.seats.take(other, "sn-1", "c2")
    assert former is not None
    assert (former.node, former.connection, former.peer_address) == ("one", "c1", one.address)
    assert await store.seats.lost(one, [("sn-1", "c1")]) == ["sn-1"]
    await store.seats.leave("sn-1", "c1")
    assert (await store.seats.of("sn-1")).connection == "c2"  # type: ignore[union-attr]
    await store.seats.take(one, "sn-2", "c3")
    assert [seat.node for seat in await store.seats.all()] == ["other", "one"]
    time.at += 11
    assert [seat.serial for seat in await store.seats.all()] == ["sn-1"]
    assert [node.name for node in await store.seats.nodes()] == ["other"]
    await store.seats.lease(_node("one", time.at + 10))
    assert (await store.seats.of("sn-2")).node == "one"  # type: ignore[union-attr]
    await store.seats.lease(_node("one", time.at + 10, "e2"))
    assert await store.seats.of("sn-2") is None


async def test_many_changes_at_once_are_all_made_and_one_failure_harms_no_other(store: Store) -> None:
    works = [store.appliances.enroll(machine(f"sn-{number}")) for number in range(30)]
    works.append(store.engineers.disable("nobody"))  # type: ignore[arg-type]
    results = await asyncio.gather(*works, return_exceptions=True)
    assert [isinstance(one, GatepostError) for one in results] == [False] * 30 + [True]
    assert len(await store.appliances.all()) == 30


async def test_the_old_registry_is_taken_over_once(tmp_path: Path, store: Store) -> None:
    registry = tmp_path / "state" / "registry"
    registry.mkdir()
    old = machine("sn-1")
    (registry / "sn-1.json").write_text(
        f'{{"serial": "sn-1", "tunnel_key": "{old.tunnel_key}", "host_key": "{old.host_key}", "enrolled_at": 17.5}}\n'
    )
    await store.begin()
    known = await store.appliances.get("sn-1")
    assert known is not None
    assert (known.tunnel_key, known.enrolled_at, known.exchange_key) == (old.tunnel_key, 17.5, "")
    assert not registry.exists()
    assert (registry.parent / "registry.imported" / "sn-1.json").exists()
    await store.begin()


async def _layout(url: str, version: int, compatible: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE gatepost_schema SET version = $1, compatible = $2", version, compatible)
    await connection.close()


@needs(postgresql.INITDB)
async def test_a_database_of_a_newer_release_is_refused_and_one_that_it_shares_is_used(
    server: postgresql.Server,
) -> None:
    url = server.database()
    for version, compatible in ((1, 1), (9, 1), (9, 9)):
        store = Store(PostgresqlEngine(url))
        if compatible == 9:
            await _refused(78, "install the newer release again", store.begin())
        else:
            await store.begin()
        await store.close()
        if version == 1:
            await _layout(url, 9, 1)
        elif compatible == 1:
            await _layout(url, 9, 9)


@needs(postgresql.INITDB)
async def test_a_database_that_goes_away_is_said_at_once_and_found_again() -> None:
    with postgresql.server() as server:
        store = Store(PostgresqlEngine(server.database(), timeout_s=15))
        await store.appliances.enroll(machine("sn-1"))
        server.stop()
        with pytest.raises(DatabaseAway, match="does not answer"):
            await store.appliances.get("sn-1")
        with pytest.raises(DatabaseAway, match="does not answer"):
            await store.engineers.put(engineer("ana"))
        server.start()
        assert (await store.appliances.get("sn-1")) is not None
        await store.engineers.put(engineer("ana"))
        await store.close()


async def test_an_address_where_nobody_is_names_the_place_and_no_secret(tmp_path: Path) -> None:
    store = Store(PostgresqlEngine(f"postgresql://ana:secret@/gatepost?host={tmp_path}"))
    with pytest.raises(DatabaseAway, match="database gatepost") as caught:
        await store.begin()
    assert "secret" not in caught.value.text


@needs(postgresql.INITDB)
async def test_two_bastions_on_one_database_make_no_generation_twice(server: postgresql.Server) -> None:
    url = server.database()
    stores = [Store(PostgresqlEngine(url)) for _ in range(2)]
    await asyncio.gather(*(store.begin() for store in stores))
    await stores[0].appliances.enroll(machine("sn-1"))
    nonce, generation = "", 0
    for _ in range(5):
        answers = await asyncio.gather(*(_come(store, generation, nonce) for store in stores))
        assert answers[0] == answers[1]
        nonce, generation = answers[0].nonce, answers[0].generation
        assert all(await asyncio.gather(*(store.appliances.confirm("sn-1", generation) for store in stores)))
    for store in stores:
        await store.close()


async def test_a_closed_store_is_away_and_keeps_nobody_waiting(store: Store) -> None:
    """What ends a tunnel while the bastion stops used to wait for an answer that nobody would give."""
    await store.close()
    with pytest.raises(DatabaseAway):
        await store.appliances.get("sn-1")
    with pytest.raises(DatabaseAway):
        await store.seats.leave("sn-1", "c1")
