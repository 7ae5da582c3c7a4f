import asyncio
from pathlib import Path

from core.journal.entry import Position
from core.journal.journal import Journal, JournalSettings
from core.journal.tail import Tail
from core.lifecycle import Activities, Signals, run_service
from core.record import Accepted, Recipient, decode_outcome, encode
from mail.intake import Intake, IntakeSettings
from mail.recover import Recovery
from tests.support.gateway import gateway

SETTINGS = JournalSettings(segment_bytes=1 << 20, backlog_bytes=1 << 26, reserve_bytes=0)


async def test_what_a_crash_left_goes_through_the_pipeline_again(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    content = b"Subject: drop me\r\n\r\nbody\r\n"
    first = Journal.open(folder, SETTINGS)
    sink = first.content()
    sink.write(content)
    stored = asyncio.Event()
    accepted = Accepted(7, 1, 0.0, "a@b", [Recipient(0, "c@d")], len(content))
    first.append(7, encode(accepted), sink, None, lambda error: stored.set())
    await stored.wait()
    first.close()

    with gateway(tmp_path / "gateway", "f: if subject == 'drop' { drop(); }") as under_test:
        journal = Journal.open(folder, SETTINGS)
        intake = Intake(
            IntakeSettings("esa.example.test"),
            journal,
            under_test.pipeline,
            log=under_test.log,
            counters=under_test.counters,
        )
        recovery = Recovery(journal.recovered, intake, under_test.log)
        await run_service(recovery, Signals([recovery.name]), Activities())
        tail = Tail(folder, Position())
        (entry,) = tail.read(1 << 20)
        tail.close()
        assert decode_outcome(entry.outcome).verdict == "drop"
        assert under_test.lines()[0] == "Info: 1 accepted messages go through the work queue again"
        journal.close()
    again = Journal.open(folder, SETTINGS)
    assert again.recovered == []
    again.close()
