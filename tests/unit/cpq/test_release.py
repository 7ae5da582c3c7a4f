"""Operators, hand-over and sweeps on a management host."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import GatepostError
from core.journal import Journal, Tail
from core.record import decode_accepted, decode_outcome
from cpq.content import ContentFolder
from cpq.exchange.seen import SeenTransfers
from cpq.handover import HandOver
from cpq.held import Arrival, NewHold
from cpq.locate import Locator
from cpq.metadata import frame_of
from cpq.policy import Policy, Quarantine
from cpq.release import Release
from cpq.state import Event
from cpq.store import SqliteStore
from cpq.sweep import KEEP_TOMBSTONES_S, Sweep
from protocol.quarantine.frame import encode_frame
from tests.support.quarantine import CONTENT, Machine, Pokes, job, machines
from tests.support.service import running

POLICY = Policy([Quarantine("Free", 100.0, Event.RELEASE), Quarantine("Tight", 100.0, makes_room=False)])


class Clock:
    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Host:
    """The parts of release-host, without a daemon round them."""

    sma: Machine
    store: SqliteStore
    folder: ContentFolder
    journal: Journal
    handover: HandOver
    release: Release
    clock: Clock
    pokes: Pokes

    async def hold(self, number: int, *quarantines: str, size: int = 0, hold_count: int = 1, **holds: float) -> str:
        content = CONTENT + b"x" * size
        sha256 = hashlib.sha256(content).digest()
        one = job(number, content, hold_count=hold_count)
        frame = frame_of(one.accepted, one.outcome, one.recipients, direction="hold", serial="ESA-1", sha256=sha256)
        expiry = {**dict.fromkeys(quarantines, self.clock() + 100.0), **holds}
        id = f"{number:024d}"
        self.folder.write(id, [content])
        arrival = Arrival(
            id=id,
            mid=number,
            peer="ESA-1",
            transfer_id=frame.transfer_id,
            origin_serial="ESA-1",
            origin_mid=number,
            sender=frame.sender,
            recipients=("b@example.test",),
            subject=frame.subject,
            size=len(content),
            sha256=sha256,
            received_at=frame.received_at,
            held_at=self.clock(),
            hold_count=hold_count,
            holds=tuple(NewHold(name, name, "message filter:f", "", at) for name, at in expiry.items()),
            frame=encode_frame(frame),
        )
        await self.store.arrivals.take([arrival])
        return id

    async def listed(self, **args: object) -> list[str]:
        return [one["id"] for one in (await self.release.list(args))["messages"]]

    def handed_over(self) -> list[tuple[int, str, bytes, bytes]]:
        """Give (MID, target, transfer id, content) of what the queue would import."""
        found = []
        for one in Tail(self.journal.directory).read():
            accepted, outcome = decode_accepted(one.accepted), decode_outcome(one.outcome)
            assert outcome.destination == "the.cpq.release.host"
            found.append((accepted.mid, outcome.target, outcome.transfer_id, one.data or b""))
        return found


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    _, sma = machines(tmp_path)
    store = SqliteStore(tmp_path / "q.db")
    folder = ContentFolder(tmp_path / "content")
    journal = Journal.open(tmp_path / "journal")
    clock, pokes = Clock(), Pokes()

    async def nobody(pairing: object) -> object:
        raise AssertionError

    handover = HandOver(store.outbox, folder, journal, pokes, sma.log, seen=SeenTransfers(), clock=clock)
    locator = Locator(sma.pairings, nobody, sma.log)  # type: ignore[arg-type]
    names = ("Policy", "Virus")
    release = Release(store, folder, locator, sma.log, quarantines=names, clock=clock, decided=handover.wake)
    yield Host(sma, store, folder, journal, handover, release, clock, pokes)
    store.close()
    journal.close()


async def test_a_released_message_goes_into_the_journal_once_and_its_file_goes(host: Host) -> None:
    id = await host.hold(7, "Policy")
    host.clock.at += 61.4
    assert await host.release.release({"ids": [id]}) == {"released": [id]}
    assert await host.release.release({"ids": [id, id]}) == {"released": [id]}
    await host.handover.turn()
    await host.handover.turn()
    ((mid, target, transfer_id, content),) = host.handed_over()
    assert (mid, target, len(transfer_id), content) == (7, "ESA-1", 16, CONTENT)
    assert not host.folder.path(id).exists()
    assert await host.store.outbox.removals(10) == []
    assert host.pokes.topics == ["journal"]
    log = host.sma.logged()
    assert 'MID 7 released from quarantine "Policy" (manual) t=61\n' in log
    assert log.count("MID 7 released from all quarantines") == 1
    assert await host.release.release({"ids": [id]}) == {"released": [id]}


async def test_the_hand_over_after_a_crash_between_journal_and_outbox_is_not_repeated(host: Host) -> None:
    id = await host.hold(7, "Policy")
    await host.release.release({"ids": [id]})
    (row,) = await host.store.outbox.leaving(10)
    await host.handover._write(row)
    seen = SeenTransfers()
    host.journal.scan(seen.see)
    again = HandOver(host.store.outbox, host.folder, host.journal, host.pokes, host.sma.log, seen=seen)
    await again.turn()
    assert len(host.handed_over()) == 1
    assert await host.store.outbox.leaving(10) == []


async def test_the_service_hands_over_when_it_is_woken(host: Host) -> None:
    id = await host.hold(7, "Policy")
    async with running(host.handover):
        await host.release.release({"ids": [id]})
        while not host.handed_over():
            await host.store.outbox.leaving(1)


async def test_a_large_message_is_handed_over_whole(host: Host) -> None:
    id = await host.hold(7, "Policy", size=3_000_000)
    await host.release.release({"ids": [id]})
    await host.handover.turn()
    ((_, _, _, data),) = host.handed_over()
    assert data == b""
    (entry,) = Tail(host.journal.directory).read()
    assert entry.content.length == len(CONTENT) + 3_000_000


async def test_two_quarantines_one_delete(host: Host) -> None:
    id = await host.hold(7, "Policy", "Virus")
    assert await host.release.delete({"ids": [id], "quarantine": "Virus"}) == {"deleted": [id]}
    assert await host.listed() == [id]
    assert await host.listed(quarantine="Virus") == []
    assert await host.release.release({"ids": [id]}) == {"released": [], "deleted": [id]}
    await host.handover.turn()
    assert host.handed_over() == []
    assert not host.folder.path(id).exists()
    assert "MID 7 deleted from all quarantines" in host.sma.logged()


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ({}, 64, "at least one"),
        ({"ids": []}, 64, "at least one"),
        ({"ids": ["nobody"]}, 66, "no message 'nobody'"),
        ({"ids": ["\x1b[31m"]}, 66, "no message"),
        ({"ids": [f"{8:024d}"]}, 65, "cannot release what is deleted; nothing was changed"),
        ({"ids": [f"{9:024d}"]}, 65, "quarantined 6 times"),
        ({"ids": [f"{7:024d}"], "quarantine": "Virus"}, 66, "no message"),
    ],
)
async def test_what_cannot_be_released_says_so_and_changes_nothing(
    host: Host, args: dict[str, object], status: int, words: str
) -> None:
    good = await host.hold(7, "Policy")
    await host.release.delete({"ids": [await host.hold(8, "Policy")]})
    await host.hold(9, "Policy", hold_count=6)
    with pytest.raises(GatepostError) as caught:
        await host.release.release({**args, "ids": [good, *args["ids"]]} if args.get("ids") else args)  # type: ignore[misc]
    assert caught.value.status == status
    assert words in caught.value.text
    if args.get("quarantine") is None:
        assert good in await host.listed()


async def test_list_pages_and_shows_the_document_of_the_design(host: Host) -> None:
    ids = [await host.hold(number, "Policy") for number in (1, 2, 3)]
    page = await host.release.list({"limit": 2, "sender": None})
    assert [one["id"] for one in page["messages"]] == [ids[2], ids[1]]
    assert page["next"] == ids[1]
    rest = await host.release.list({"limit": 2, "after": page["next"]})
    assert [one["id"] for one in rest["messages"]] == [ids[0]]
    assert rest["next"] is None
    one = rest["messages"][0]
    assert one["quarantines"][0]["name"] == "Policy"
    assert one["quarantines"][0]["reason"] == "message filter:f"
    assert one["quarantines"][0]["state"] == "held"
    assert one["quarantines"][0]["expires_at"] == host.clock() + 100
    assert {name: one[name] for name in ("appliance", "mid", "sender", "recipients", "subject", "size")} == {
        "appliance": "ESA-1",
        "mid": "1",
        "sender": "a@example.com",
        "recipients": ["b@example.test"],
        "subject": "Grüße [hold]",
        "size": len(CONTENT),
    }
    with pytest.raises(GatepostError):
        await host.release.list({"limit": 0.5})


async def test_show_has_headers_and_decisions(host: Host) -> None:
    id = await host.hold(1, "Policy")
    shown = await host.release.show({"id": id})
    assert shown["headers"] == [
        {"name": "Received", "value": "from x by y; today"},
        {"name": "Subject", "value": "Grüße [hold]"},
        {"name": "X-Long", "value": "a b"},
    ]
    assert shown["decisions"][0]["rule"] == "hold_it"
    await host.release.delete({"ids": [id]})
    await host.handover.turn()
    shown = await host.release.show({"id": id})
    assert shown["state"] == "deleted"
    with pytest.raises(GatepostError):
        await host.release.show({"id": "nobody"})


async def test_expiry_applies_the_default_action_of_each_quarantine(host: Host) -> None:
    sweep = Sweep(host.store, POLICY, host.handover, host.sma.log, clock=host.clock)
    gone, freed, kept = await host.hold(1, "Policy"), await host.hold(2, "Free"), await host.hold(3, Policy=2e9)
    both = await host.hold(4, "Free", Virus=2e9)
    await sweep.turn()
    assert len(await host.listed()) == 4
    host.clock.at += 100
    await sweep.turn()
    assert await host.listed() == [both, kept]
    await host.handover.turn()
    assert [mid for mid, *_ in host.handed_over()] == [2]
    log = host.sma.logged()
    assert 'MID 1 deleted from quarantine "Policy" (expired) t=100' in log
    assert 'MID 2 released from quarantine "Free" (expired) t=100' in log
    assert 'MID 4 released from quarantine "Free" (expired) t=100' in log
    assert "MID 4 released from all" not in log
    assert gone != freed


async def test_overflow_takes_what_expires_soonest_where_room_may_be_made(host: Host) -> None:
    size = len(CONTENT) + 1000
    late = await host.hold(1, size=1000, Policy=host.clock() + 90)
    await host.hold(2, size=1000, Policy=host.clock() + 50)
    await host.hold(3, size=1000, Free=host.clock() + 60)
    tight = await host.hold(4, size=1000, Tight=host.clock() + 10)
    sweep = Sweep(host.store, POLICY, host.handover, host.sma.log, quota_octets=2 * size, clock=host.clock)
    await sweep.turn()
    assert await host.listed() == [tight, late]
    log = host.sma.logged()
    assert 'MID 2 deleted from quarantine "Policy" (queue full)' in log
    assert 'MID 3 released from quarantine "Free" (queue full)' in log
    assert "over its quota" not in log


async def test_the_status_page_counts_each_message_once(host: Host) -> None:
    await host.hold(1, "Free", "Tight", size=3000)
    await host.hold(2, "Free")
    state = await host.release.verbs()["status"]({})
    octets = 2 * len(CONTENT) + 3000
    assert state["gauges"] == {"msgs_in_quarantine": 2, "kbytes_in_quarantine": -(-octets // 1024)}


async def test_a_quarantine_that_cannot_make_room_says_so_once(host: Host) -> None:
    await host.hold(1, "Tight")
    sweep = Sweep(host.store, POLICY, host.handover, host.sma.log, quota_octets=1, clock=host.clock)
    await sweep.turn()
    await sweep.turn()
    assert host.sma.logged().count("octets over its quota") == 1
    await host.release.delete({"ids": await host.listed()})
    await sweep.turn()
    assert "within its quota again" in host.sma.logged()


async def test_people_hear_once_of_each_step_towards_the_quota(host: Host) -> None:
    told: list[tuple[str, str]] = []
    await host.hold(1, "Tight", size=1000)
    size = (await host.store.catalogue.held())[1]

    def alert(severity: str, kind: str, text: str) -> None:
        assert "What to do: " in text
        told.append((severity, kind))

    def sweep(quota: int) -> Sweep:
        return Sweep(host.store, POLICY, host.handover, host.sma.log, quota_octets=quota, clock=host.clock, alert=alert)

    await sweep(2 * size).turn()
    assert told == []
    near = sweep(size * 100 // 80)
    await near.turn()
    await near.turn()
    assert told == [("Info", "QUARANTINE.SPACE")]
    near._quota = size
    await near.turn()
    assert told[1:] == [("Critical", "QUARANTINE.SPACE")]


async def test_a_message_that_left_is_forgotten_after_a_month(host: Host) -> None:
    id = await host.hold(1, "Policy")
    await host.release.delete({"ids": [id]})
    sweep = Sweep(host.store, POLICY, host.handover, host.sma.log, clock=host.clock)
    host.clock.at += KEEP_TOMBSTONES_S
    await sweep.turn()
    assert await host.release.delete({"ids": [id]}) == {"deleted": [id]}
    host.clock.at += 1
    await sweep.turn()
    with pytest.raises(GatepostError):
        await host.release.delete({"ids": [id]})


async def test_an_unknown_quarantine_is_named_instead_of_giving_an_empty_list(host: Host) -> None:
    id = await host.hold(7, "Policy")
    for verb, args in (("list", {}), ("release", {"ids": [id]}), ("delete", {"ids": [id]})):
        with pytest.raises(GatepostError, match="no quarantine is called 'Nowhere'; there are: Policy, Virus") as info:
            await getattr(host.release, verb)({"quarantine": "Nowhere", **args})
        assert info.value.status == 66
    assert (await host.release.list({"quarantine": "Virus"}))["messages"] == []
    assert [one["id"] for one in (await host.release.list({"quarantine": "Policy"}))["messages"]] == [id]
