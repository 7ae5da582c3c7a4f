"""The room that the queue takes is its own files', not the disk's."""

from pathlib import Path

from mail.queue.places import Places
from mail.queue.space import Space


async def test_the_queue_s_own_files_count_and_are_measured_again_after_a_while(tmp_path: Path) -> None:
    places, now = Places(tmp_path / "spool"), 1000.0
    places.content.mkdir(parents=True)
    (places.journals / "gateway-0").mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"x" * (1 << 20))
    space = Space(places, lambda: now)
    assert (await space.gauges())["kbytes_used"] == 0
    (places.journals / "gateway-0" / "1.segment").write_bytes(b"x" * (64 << 10))
    (places.content / "1.content").write_bytes(b"x" * (128 << 10))
    assert (await space.gauges())["kbytes_used"] == 0
    now += 6
    found = await space.gauges()
    assert 192 <= found["kbytes_used"] < 256
    assert found["kbytes_free"] > 0
