import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.record import Accepted, Outcome, Recipient, decode_outcome
from core.smtp.door import Brake
from mail import intake as module
from mail.mime import Headers
from mail.pipeline import Readable
from tests.support.gateway import gateway
from tests.support.waiting import until


async def test_an_outcome_that_the_journal_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    written: list[bytes] = []
    with gateway(tmp_path) as under_test:

        def append_outcome(mid: int, outcome: bytes, done: module.Done) -> None:
            written.append(outcome)
            asyncio.get_running_loop().call_soon(done, OSError("no space") if len(written) < 3 else None)

        under_test.intake.store.append_outcome = append_outcome  # type: ignore[method-assign]
        content = b"Subject: x\r\n\r\n"
        accepted = Accepted(7, 1, 0.0, "a@b", [Recipient(0, "c@d")], len(content))
        await under_test.intake.work(accepted, Readable(Headers(content), lambda: content))
        assert len(written) == 3
        assert {decode_outcome(data).verdict for data in written} == {"deliver"}
        assert under_test.lines() == [
            "Critical: MID 7 outcome not stored: no space",
            "Critical: MID 7 outcome not stored: no space",
            "Info: MID 7 queued for delivery",
        ]
        assert under_test.intake.working == 0


async def test_a_fault_of_the_pipeline_gives_the_content_back(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("fault")

        under_test.pipeline.run = broken  # type: ignore[method-assign, assignment]
        client = under_test.connect()
        client.say("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@example.test>")
        with pytest.raises(RuntimeError):
            await client.deliver(b"Subject: x\r\n\r\n")
        assert under_test.journal.status()["content_bytes_in_memory"] == 0


async def test_content_that_cannot_be_read_now_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its message had no outcome then, until the next start."""
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    with gateway(tmp_path, "f: if body-contains('secret') { drop(); }") as under_test:
        content = b"Subject: x\r\n\r\nsecret\r\n"
        reads: Iterator[bytes | OSError] = iter([OSError(24, "Too many open files"), content])

        def read() -> bytes:
            step = next(reads)
            if isinstance(step, OSError):
                raise step
            return step

        outcomes: list[bytes] = []

        def append_outcome(mid: int, outcome: bytes, done: module.Done) -> None:
            outcomes.append(outcome)
            asyncio.get_running_loop().call_soon(done, None)

        under_test.intake.store.append_outcome = append_outcome  # type: ignore[method-assign]
        accepted = Accepted(7, 1, 0.0, "a@b", [Recipient(0, "c@d")], len(content))
        await under_test.intake.work(accepted, Readable(Headers(content), read))
        assert [decode_outcome(one).verdict for one in outcomes] == ["drop"]
        assert under_test.lines()[0] == "Critical: MID 7 cannot be read now: [Errno 24] Too many open files"


async def test_a_message_that_waits_for_a_person_is_told_of(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        told: list[Outcome] = []
        under_test.intake._held = told.append

        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("fault")

        under_test.pipeline.run_in_thread = broken  # type: ignore[method-assign, assignment]
        content = b"Subject: x\r\n\r\n"
        accepted = Accepted(7, 1, 0.0, "a@b", [Recipient(0, "c@d")], len(content))
        await under_test.intake.work(accepted, Readable(Headers(content), lambda: content))
        await under_test.intake.work(accepted, Readable(Headers(content), lambda: content))
        assert [(one.mid, one.destination) for one in told] == [(7, "the.hold.queue")] * 2


async def test_a_brake_holds_the_answer_and_not_the_message(tmp_path: Path) -> None:
    brake = Brake()
    with gateway(tmp_path) as under_test:
        under_test.intake._brake = brake
        brake.delay_s = 60
        client = under_test.connect()
        client.say("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@example.test>")
        client.machine.receive(b"BDAT 14 LAST\r\nSubject: x\r\n\r\n")
        await until(lambda: brake._held)
        assert client.machine.take() == b""
        assert "ready 14 bytes" in "\n".join(under_test.lines())
        brake.release()
        assert client.machine.take().startswith(b"250 2.0.0 Ok:  Message")


@pytest.mark.parametrize(("tries", "held"), [(3, False), (10**6, True)])
async def test_a_message_is_not_held_because_memory_was_short_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: int, held: bool
) -> None:
    """It had got 250 and lay in the.hold.queue for somebody to release it."""
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    with gateway(tmp_path) as under_test:
        run, asked, written = under_test.pipeline.run_in_thread, [0], [b""]

        async def short(*arguments: Any, **named: Any) -> Outcome:
            asked[0] += 1
            if asked[0] == 1:
                raise RuntimeError("can't start new thread")
            if asked[0] < tries:
                raise MemoryError
            return await run(*arguments, **named)

        def append_outcome(mid: int, outcome: bytes, done: module.Done) -> None:
            written[0] = outcome
            asyncio.get_running_loop().call_soon(done, None)

        under_test.pipeline.run_in_thread = short  # type: ignore[method-assign]
        under_test.intake.store.append_outcome = append_outcome  # type: ignore[method-assign]
        content = b"Subject: x\r\n\r\n"
        accepted = Accepted(7, 1, 0.0, "a@b", [Recipient(0, "c@d")], len(content))
        await under_test.intake.work(accepted, Readable(Headers(content), lambda: content))
        outcome = decode_outcome(written[0])
        assert (outcome.destination == "the.hold.queue") == held
        assert asked[0] == min(tries, module.MOST_TRIES)
