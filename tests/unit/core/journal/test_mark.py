import random
from pathlib import Path

import pytest

from core.disk import Disk
from core.journal.entry import Position
from core.journal.mark import NAME, SLOT_BYTES, MarkReader, MarkWriter


def test_readers_see_what_was_published_last(tmp_path: Path) -> None:
    writer = MarkWriter(Disk(), tmp_path)
    reader = MarkReader(Disk(), tmp_path)
    assert reader.read() is None
    for offset in range(1, 10):
        writer.publish(Position(3, offset))
        assert reader.read() == (3, offset)
    writer.publish(Position(4, 1))
    assert reader.read() == (4, 1)


def test_a_new_owner_goes_on_after_the_old_one(tmp_path: Path) -> None:
    for generation in range(1, 5):
        writer = MarkWriter(Disk(), tmp_path)
        assert writer.position.generation == generation - 1
        writer.publish(Position(generation, 4096))
        assert MarkReader(Disk(), tmp_path).read() == (generation, 4096)
        writer.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_or_zeroed_mark_is_older_or_absent_never_newer(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    writer = MarkWriter(Disk(), tmp_path)
    images, published = [], []
    for offset in range(1, 8):
        writer.publish(Position(2, offset * 4096))
        published.append(Position(2, offset * 4096))
        images.append((tmp_path / NAME).read_bytes())
    for _ in range(200):
        torn = bytearray(images[-1])
        for at in range(0, 2 * SLOT_BYTES, chance.choice((4, 8, 16))):
            other = chance.choice((*images, bytes(4096)))
            torn[at : at + 8] = other[at : at + 8]
        (tmp_path / NAME).write_bytes(torn)
        mark = MarkReader(Disk(), tmp_path).read()
        assert mark is None or mark in published


def test_without_an_owner_there_is_no_mark(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mark"):
        MarkReader(Disk(), tmp_path)
