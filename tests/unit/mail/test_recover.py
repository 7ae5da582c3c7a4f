import asyncio
import re
from pathlib import Path
from typing import Any

from core.journal.entry import Position
from core.journal.journal import Journal, JournalSettings
from core.journal.tail import Tail
from core.lifecycle import Activities, Signals, run_service
from core.record import Accepted, Outcome, Recipient, decode_outcome, encode
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


async def test_a_message_that_the_pipeline_fails_on_is_held_and_takes_no_gateway_down(tmp_path: Path) -> None:
    """The fault ended the daemon, and as the message had no outcome it did so at every start."""
    folder = tmp_path / "journal"
    first = Journal.open(folder, SETTINGS)
    stored = asyncio.Event()
    for mid in (7, 8):
        sink = first.content()
        sink.write(b"Subject: poison\r\n\r\n")
        accepted = Accepted(mid, 1, 0.0, "a@b", [Recipient(0, "c@d")], 19)
        first.append(mid, encode(accepted), sink, None, lambda error: stored.set())
        await stored.wait()
        stored.clear()
    first.close()

    with gateway(tmp_path / "gateway") as under_test:
        run = under_test.pipeline.run

        def fails(accepted: Accepted, *rest: Any, **named: Any) -> Outcome:
            if accepted.mid == 7:
                raise RecursionError("a message nobody has thought of")
            return run(accepted, *rest, **named)

        under_test.pipeline.run = fails  # type: ignore[method-assign]
        journal = Journal.open(folder, SETTINGS)
        settings = IntakeSettings("esa.example.test")
        log = under_test.log
        intake = Intake(settings, journal, under_test.pipeline, log=log, counters=under_test.counters)
        recovery = Recovery(journal.recovered, intake, log)
        await run_service(recovery, Signals([recovery.name]), Activities())
        tail = Tail(folder, Position())
        outcomes = [decode_outcome(entry.outcome) for entry in tail.read(1 << 20)]
        tail.close()
        assert [(one.mid, one.verdict, one.destination) for one in outcomes] == [
            (7, "hold", "the.hold.queue"),
            (8, "deliver", ""),
        ]
        assert any(re.match("Critical: MID 7 held .*: internal error, incident", line) for line in under_test.lines())
        journal.close()
