from pathlib import Path

import pytest

from core.record import CPQ_HOST
from cpq.exchange.store import OwedIds
from cpq.settle import SYNCED_AFTER_S, Settlements
from tests.support.quarantine import courier, job, machines, quarantine


class Clock:
    at = 1000.0

    def __call__(self) -> float:
        return self.at


async def test_an_id_is_settled_once_the_queue_is_through_with_it_and_had_time_to_sync(tmp_path: Path) -> None:
    esa, sma = machines(tmp_path)
    queued = {1, 2}
    clock = Clock()

    async def is_queued(mid: int) -> bool:
        return mid in queued

    async with quarantine(sma) as held, courier(esa) as post:
        esa.paired_with(sma, held.listener.port)
        line = await post.open(CPQ_HOST, "")
        one, two = job(1), job(2)
        for message in (one, two):
            await line.send(message)
        await line.close()
        owed = post._sender.owed
        settlements = Settlements(owed, post, esa.pairings, is_queued, esa.log, clock=clock)
        known = held.store.arrivals.known
        await settlements.turn()
        clock.at += 10 * SYNCED_AFTER_S
        await settlements.turn()
        assert len(await known([one.outcome.transfer_id, two.outcome.transfer_id])) == 2
        queued.discard(1)
        await settlements.turn()
        assert len(await owed.open()) == 2
        clock.at += SYNCED_AFTER_S
        await settlements.turn()
        assert await owed.open() == [(two.outcome.transfer_id, 2)]
        assert await owed.due(10) == {}
        assert set(await known([one.outcome.transfer_id, two.outcome.transfer_id])) == {two.outcome.transfer_id}


async def test_a_peer_that_is_away_is_told_later(tmp_path: Path) -> None:
    esa, sma = machines(tmp_path)

    async def is_queued(mid: int) -> bool:
        return False

    async with courier(esa) as post:
        owed = post._sender.owed
        await owed.owe(b"i" * 16, "SMA-1", 1)
        await owed.finish([b"i" * 16])
        settlements = Settlements(owed, post, esa.pairings, is_queued, esa.log)
        await settlements.turn()
        assert await owed.due(10) == {"SMA-1": [b"i" * 16]}
        async with quarantine(sma) as held:
            esa.paired_with(sma, held.listener.port)
            await settlements.turn()
        assert await owed.due(10) == {}


@pytest.mark.parametrize("again", [False, True])
async def test_an_id_that_is_sent_again_is_open_again(tmp_path: Path, again: bool) -> None:
    owed = OwedIds(tmp_path / "settle.db")
    await owed.owe(b"i" * 16, "SMA-1", 1)
    await owed.finish([b"i" * 16])
    if again:
        await owed.owe(b"i" * 16, "SMA-1", 1)
    assert bool(await owed.open()) is again
    assert bool(await owed.due(1)) is not again
    owed.close()
