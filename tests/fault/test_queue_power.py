"""The power goes while gateway and delivery-queue run: journal, index, done logs and packs are on a real ext4.

Some mail is deferred at first, so that there are rows, packs and done logs to lose. What a power cut may repeat is
what the sink answered for since the last sync of the done log: five times a second, late by as much as the sync takes.
"""

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.load import RETRY_SOON, Road, Sink, road
from tests.support.long import either
from tests.support.volume import Volume, mounted, on_a_volume
from tests.support.window import watched

CUTS = either(3, 40)
SMALL_SEGMENTS = '[spool]\nsegment_size = "1M"\n'
pytestmark = [pytest.mark.slow, on_a_volume, pytest.mark.timeout(either(180, 1200))]


async def cut(volume: Volume, whole: Road) -> None:
    """Cut the power of the disk, then of the processes, and start again."""
    volume.shut()
    await whole.kill()
    volume.unmount()
    volume.mount()
    await whole.start()


async def test_a_power_cut_under_load_loses_nothing_that_was_answered_250(tmp_path: Path) -> None:
    sink, chance, bound = Sink(refuses=0.3), random.Random(5), 0
    with mounted(tmp_path, mebibytes=256) as volume:
        async with road(volume.place / "esa", sink, RETRY_SOON + SMALL_SEGMENTS) as whole, watched(sink) as window:
            await whole.start()
            for _ in range(CUTS):
                async with whole.load():
                    await whole.more_accepted(150)
                    await asyncio.sleep(chance.uniform(0, 2.0))
                    bound += window.recent()
                    await cut(volume, whole)
                    await whole.more_accepted(20)
            sink.refuses = 0.0
            await whole.empty(60)
            bound += whole.in_flight
    print(f"{CUTS} power cuts, {len(whole.accepted)} accepted, {sink.repeats} repeats, bound {bound}")
    assert not sink.damaged
    assert len(whole.accepted) > CUTS * 150
    assert sink.repeats <= bound


async def test_deferred_mail_that_was_moved_out_of_the_journal_survives_a_power_cut(tmp_path: Path) -> None:
    """Everything waits, segments fill, content moves into packs, and then the power goes."""
    sink = Sink(refuses=1.0)
    with mounted(tmp_path, mebibytes=256) as volume:
        async with road(volume.place / "esa", sink, RETRY_SOON + SMALL_SEGMENTS) as whole:
            await whole.start()
            packs = whole.folder / "spool" / "queue" / "content"
            async with whole.load(), asyncio.timeout(60):
                while not list(packs.glob("*.content")):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(1)
                await cut(volume, whole)
            await cut(volume, whole)
            sink.refuses = 0.0
            await whole.empty(60)
    assert not sink.damaged
    assert len(whole.accepted) > 300
