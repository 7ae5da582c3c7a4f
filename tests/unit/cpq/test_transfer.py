"""The courier against a real cpq_listener over TLS."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.disk import Disk
from core.record import CPQ_HOST, Hold
from cpq.held import Search
from cpq.state import State
from protocol.errors import TemporaryFailure
from tests.support.quarantine import CONTENT, Machine, Quarantine, courier, job, machines, quarantine


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Machine, Machine]:
    return machines(tmp_path)


@pytest.fixture
async def held(pair: tuple[Machine, Machine]) -> AsyncIterator[Quarantine]:
    esa, sma = pair
    async with quarantine(sma) as running:
        esa.paired_with(sma, running.listener.port)
        yield running


async def test_a_message_arrives_whole_and_byte_for_byte(pair: tuple[Machine, Machine], held: Quarantine) -> None:
    esa, sma = pair
    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, sma.serial)
        results = await line.send(job(recipients=["b@example.test", "ü@example.test", "c@Example.test"]))
        await line.close()
    assert [(one.rid, one.kind, one.code) for one in results] == [(rid, "delivered", 250) for rid in (0, 1, 2)]
    (found,) = await held.store.catalogue.find(Search())
    assert b"".join(held.folder.chunks(found.id)) == CONTENT
    assert (found.origin_serial, found.origin_mid, found.sender) == ("ESA-1", 5, "a@example.com")
    assert found.recipients == ("b@example.test", "ü@example.test", "c@Example.test")
    assert [(one.quarantine, one.reason, one.state) for one in found.holds] == [
        ("Policy", "message filter:hold_it", State.HELD)
    ]
    log = sma.logged()
    assert "New SMTP CPQ ICID 1 interface cpq_listener (127.0.0.1) address 127.0.0.1 reverse dns host unknown" in log
    assert f'MID {found.mid} quarantined to "Policy" (message filter:hold_it)' in log
    assert "CPQ ICID 1 close" in log
    assert f"port {held.listener.port}" in esa.logged()


async def test_many_messages_on_one_line_and_large_ones_too(pair: tuple[Machine, Machine], held: Quarantine) -> None:
    esa, sma = pair
    large = b"X: y\r\n\r\n" + b"0123456789abcdef\r\n" * 60_000
    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, "")
        for mid, content in ((1, b""), (2, large), (3, b"."), (4, b"\r\n.\r\n.\r\n")):
            (result,) = await line.send(job(mid, content))
            assert (result.kind, result.text) == ("delivered", f"Ok: Message {mid} accepted")
        assert line.usable
        await line.close()
    found = {one.origin_mid: one for one in await held.store.catalogue.find(Search())}
    assert b"".join(held.folder.chunks(found[2].id)) == large
    assert [found[mid].size for mid in (1, 2, 3, 4)] == [0, len(large), 1, 8]
    assert not list((sma.dir / "spool/incoming").iterdir())


async def test_binary_content_is_held_octet_for_octet(pair: tuple[Machine, Machine], held: Quarantine) -> None:
    """Its NULs and bare line ends were taken for an attack on the line discipline, and it stayed on the gateway."""
    esa, sma = pair
    binary = b"Subject: b\r\n\r\n\0\n.\n\r\xff\r"
    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, sma.serial)
        (result,) = await line.send(job(content=binary, body="BINARYMIME"))
        await line.close()
    assert result.kind == "delivered"
    (found,) = await held.store.catalogue.find(Search())
    assert b"".join(held.folder.chunks(found.id)) == binary


async def test_sessions_at_the_same_time_share_a_commit(pair: tuple[Machine, Machine], held: Quarantine) -> None:
    esa, _ = pair
    async with courier(esa) as post:
        lines = [await post.open(CPQ_HOST, "") for _ in range(8)]
        results = await asyncio.gather(*(line.send(job(mid)) for mid, line in enumerate(lines, 1)))
        for line in lines:
            await line.close()
    assert [one[0].kind for one in results] == ["delivered"] * 8
    assert len(await held.store.catalogue.find(Search())) == 8


async def test_a_repeated_transfer_is_acknowledged_and_stored_once(
    pair: tuple[Machine, Machine], held: Quarantine
) -> None:
    esa, sma = pair
    async with courier(esa) as post:
        for _ in range(3):
            line = await post.open(CPQ_HOST, "")
            (result,) = await line.send(job())
            await line.close()
            assert (result.kind, result.text) == ("delivered", "Ok: Message 1 accepted")
    assert len(await held.store.catalogue.find(Search())) == 1
    assert sma.logged().count("acknowledged, not stored again") == 2
    assert len([path for path in (sma.dir / "spool/content").rglob("*") if path.is_file()]) == 1


async def test_a_transfer_id_used_for_another_content_is_refused_with_an_alert_and_the_message_stays(
    pair: tuple[Machine, Machine], held: Quarantine
) -> None:
    esa, sma = pair
    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, "")
        await line.send(job())
        (result,) = await line.send(job(content=b"another\r\n"))
        assert (result.kind, result.code) == ("soft", 554)
        (result,) = await line.send(job(6))
        assert result.kind == "delivered"
        await line.close()
    assert "Critical: CPQ ICID 1 transfer id" in sma.logged()
    assert "Critical: MID 5 stays in the queue for the centralized policy quarantine" in esa.logged()


async def test_a_message_that_cannot_be_described_stays_with_an_alert(
    pair: tuple[Machine, Machine], held: Quarantine
) -> None:
    esa, _ = pair
    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, "")
        (result,) = await line.send(job(holds=[Hold("q" * 200, "r")]))
        assert (result.kind, result.code) == ("soft", 451)
        await line.close()
    assert "holds[0].quarantine is longer than 128 octets" in esa.logged()


async def test_content_that_changed_since_it_was_hashed_is_not_taken(
    pair: tuple[Machine, Machine], held: Quarantine
) -> None:
    esa, _ = pair
    changing = job()
    reads = iter((CONTENT, CONTENT[::-1]))
    changing.chunks = lambda: [next(reads)]  # type: ignore[method-assign]
    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, "")
        (result,) = await line.send(changing)
        assert result.kind == "soft"
        await line.close()
    assert await held.store.catalogue.find(Search()) == []


async def test_a_stranger_learns_that_its_certificate_was_refused(
    pair: tuple[Machine, Machine], held: Quarantine, tmp_path: Path
) -> None:
    _, sma = pair
    stranger = Machine(tmp_path / "stranger", "ESA-9", "esa")
    stranger.paired_with(sma, held.listener.port)
    async with courier(stranger) as post:
        with pytest.raises(TemporaryFailure, match="the peer refused our certificate"):
            await post.open(CPQ_HOST, "")
    assert "ACCEPT" not in sma.logged()


async def test_a_pairing_made_while_the_listener_runs_counts_at_once(
    pair: tuple[Machine, Machine], held: Quarantine, tmp_path: Path
) -> None:
    _, sma = pair
    late = Machine(tmp_path / "late", "ESA-2", "esa")
    late.paired_with(sma, held.listener.port)
    sma.paired_with(late)
    async with courier(late) as post:
        line = await post.open(CPQ_HOST, "")
        assert (await line.send(job()))[0].kind == "delivered"
        await line.close()


async def test_a_peer_with_the_wrong_certificate_is_not_given_mail(
    pair: tuple[Machine, Machine], held: Quarantine, tmp_path: Path
) -> None:
    esa, _ = pair
    other = Machine(tmp_path / "other", "SMA-2", "sma")
    esa.pairings.remove("SMA-1")
    esa.paired_with(other, held.listener.port)
    async with courier(esa) as post:
        with pytest.raises(TemporaryFailure, match="certificate"):
            await post.open(CPQ_HOST, "SMA-2")


async def test_a_peer_that_is_down_or_not_paired_is_a_temporary_failure(pair: tuple[Machine, Machine]) -> None:
    esa, _ = pair
    async with courier(esa) as post:
        with pytest.raises(TemporaryFailure, match="refused"):
            await post.open(CPQ_HOST, "SMA-1")
        with pytest.raises(TemporaryFailure, match="no pairing with SMA-7"):
            await post.open(CPQ_HOST, "SMA-7")


async def test_a_peer_that_does_not_accept_says_why(pair: tuple[Machine, Machine]) -> None:
    esa, sma = pair
    async with quarantine(sma, paused=lambda: "maintenance until noon") as held:
        esa.paired_with(sma, held.listener.port)
        async with courier(esa) as post:
            with pytest.raises(TemporaryFailure, match="not accepting: maintenance until noon"):
                await post.open(CPQ_HOST, "")


async def test_a_store_that_cannot_write_answers_451_and_the_next_try_succeeds(
    pair: tuple[Machine, Machine], held: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    esa, sma = pair
    synced = Disk.fdatasync
    failures = iter((True,))

    def fails(self: Disk, fd: int) -> None:
        if next(failures, False):
            raise OSError(5, "Input/output error")
        synced(self, fd)

    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, "")
        assert (await line.send(job(1)))[0].kind == "delivered"
        monkeypatch.setattr(Disk, "fdatasync", fails)
        (result,) = await line.send(job())
        assert (result.kind, result.code) == ("soft", 451)
        (result,) = await line.send(job())
        assert result.kind == "delivered"
        await line.close()
    assert [one.origin_mid for one in await held.store.catalogue.find(Search())] == [5, 1]
    assert "Input/output error" in sma.logged()
