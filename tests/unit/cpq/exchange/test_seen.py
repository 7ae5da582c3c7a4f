import asyncio
from pathlib import Path

from core.journal import Journal, Tail, acknowledge
from core.record import RELEASE_HOST, encode
from cpq.exchange.seen import SeenTransfers
from cpq.metadata import accepted_of, frame_of, outcome_of
from tests.support.quarantine import CONTENT, job


async def write(journal: Journal, transfer_id: bytes, destination: str) -> None:
    one = job(7, transfer_id=transfer_id)
    frame = frame_of(one.accepted, one.outcome, one.recipients, direction="hold", serial="S", sha256=b"h" * 32)
    accepted = accepted_of(frame, mid=8, icid=0, peer="SMA-1", at=1.0)
    outcome = outcome_of(frame, mid=8, verdict="deliver", destination=destination, transfer_id=b"o" * 16)
    content = journal.content()
    content.write(CONTENT)
    done: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    journal.append(8, encode(accepted), content, encode(outcome), done.set_result)
    assert await done is None


async def test_both_kinds_of_ids_are_found_in_a_journal(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    await write(journal, b"t" * 16, "")
    await write(journal, b"u" * 16, RELEASE_HOST)
    journal.close()
    seen = SeenTransfers(lambda: 5.0)
    Journal.open(tmp_path, show=seen.see).close()
    assert [(one.transfer_id, one.peer, one.mid, one.size, one.sha256, one.taken_at) for one in seen.taken] == [
        (letter * 16, "SMA-1", 8, len(CONTENT), b"h" * 32, 5.0) for letter in (b"t", b"u")
    ]
    assert seen.handed_over == {b"o" * 16}


async def test_an_id_is_seen_although_the_queue_was_through_with_its_segment_before_the_owner_came_back(
    tmp_path: Path,
) -> None:
    journal = Journal.open(tmp_path)
    await write(journal, b"t" * 16, "")
    journal.close()
    Journal.open(tmp_path).close()
    tail = Tail(tmp_path)
    tail.read()
    acknowledge(tmp_path, tail.acknowledgeable())
    tail.close()
    seen = SeenTransfers()
    Journal.open(tmp_path, show=seen.see).close()
    assert [one.transfer_id for one in seen.taken] == [b"t" * 16]
    later = SeenTransfers()
    Journal.open(tmp_path, show=later.see).close()
    assert later.taken == []
