from collections.abc import Sequence
from pathlib import Path

import pytest

from core.maillog import MailLog
from core.record import CPQ_HOST, HOLD_QUEUE, Accepted, Decision, Outcome, Recipient, decode_outcome, encode
from mail.alternate import AlternateSource, AlternateSources
from mail.filter.compiler import compile_filters
from mail.pipeline import GATEWAY, Notes, Pipeline, Readable

FILTERS = r"""
hold: if (subject == '\\[hold\\]') { quarantine('Policy'); }
virus: if (subject == '\\[virus\\]') { quarantine('Virus'); }
tag: if (subject == 'tag') { insert-header('X-Tag', '$MID'); log-entry('tagged $Subject'); }
dropit: if (subject == '\\[drop\\]') { drop(); }
bounceit: if (subject == '\\[bounce\\]') { bounce(); }
"""


def message(subject: str) -> tuple[Accepted, bytes]:
    content = f"Subject: {subject}\r\n\r\nbody\r\n".encode()
    return Accepted(7, 3, 0.0, "a@b", [Recipient(0, "c@d")], len(content)), content


def pipeline() -> Pipeline:
    program = compile_filters(FILTERS)
    return Pipeline(lambda: program)


def run(subject: str, **options: object) -> tuple[Outcome, list[tuple[str, str]]]:
    notes = Notes()
    outcome = pipeline().run(*message(subject), notes=notes, **options)  # type: ignore[arg-type]
    assert decode_outcome(encode(outcome)) == outcome
    return outcome, notes.lines


def test_ordinary_mail_is_queued() -> None:
    outcome, lines = run("hello")
    assert (outcome.verdict, outcome.destination, outcome.holds) == ("deliver", "", [])
    assert outcome.finished == ["message-filters", "quarantine"]
    assert lines == [("info", "MID 7 queued for delivery")]
    (decision,) = outcome.decisions
    assert (decision.stage, decision.input, decision.verdict) == ("message-filters", "5 filters, 0 acted", "deliver")


def test_drop_and_bounce_end_at_once_with_the_lines_of_the_model() -> None:
    outcome, lines = run("[drop]")
    assert (outcome.verdict, outcome.reason) == ("drop", "Dropped by filter 'dropit'")
    assert [text for _, text in lines] == [
        "Message aborted MID 7 Dropped by filter 'dropit'",
        "Message finished MID 7 aborted",
    ]
    outcome, lines = run("[bounce]")
    assert (outcome.verdict, outcome.finished) == ("bounce", ["message-filters"])
    assert lines == [("info", "Message aborted MID 7 Bounced by filter 'bounceit'")]


def test_held_mail_goes_to_every_quarantine_that_was_flagged() -> None:
    outcome, lines = run("[hold] [virus]")
    assert (outcome.verdict, outcome.destination, outcome.target) == ("quarantine", "the.cpq.host", "")
    assert [(hold.quarantine, hold.reason, hold.matched) for hold in outcome.holds] == [
        ("Policy", "message filter:hold", "[hold]"),
        ("Virus", "message filter:virus", "[virus]"),
    ]
    assert len(outcome.transfer_id) == 16
    assert outcome.hold_count == 1
    assert [text for _, text in lines] == [
        'MID 7 enqueued for transfer to centralized quarantine "Policy" (message filter:hold)',
        'MID 7 enqueued for transfer to centralized quarantine "Virus" (message filter:virus)',
        "MID 7 queued for delivery",
    ]
    assert run("[hold]")[0].transfer_id != outcome.transfer_id


def test_a_quarantine_flag_has_no_effect_on_dropped_mail() -> None:
    outcome, _ = run("[hold] [drop]")
    assert (outcome.verdict, outcome.holds, outcome.transfer_id) == ("drop", [], b"")


def test_held_mail_waits_for_whichever_management_host_is_paired() -> None:
    outcome, _ = run("[hold]")
    assert (outcome.verdict, outcome.destination, outcome.target) == ("quarantine", CPQ_HOST, "")


def test_released_mail_goes_on_behind_the_stages_it_has_finished() -> None:
    outcome, lines = run("[hold] [drop]", finished=("message-filters", "quarantine"), hold_count=1)
    assert (outcome.verdict, outcome.hold_count) == ("deliver", 1)
    assert lines == [("info", "MID 7 queued for delivery")]
    again, _ = run("[hold]", finished=("quarantine",))
    assert (again.verdict, again.finished) == ("deliver", ["quarantine", "message-filters"])


def test_a_stage_that_is_not_known_holds_the_message_with_an_alert() -> None:
    outcome, lines = run("hello", finished=("message-filters", "antivirus"))
    assert (outcome.verdict, outcome.destination) == ("hold", HOLD_QUEUE)
    assert "antivirus" in outcome.reason
    assert lines[0][0] == "critical"


@pytest.mark.parametrize("before", [4, 5])
def test_mail_held_more_than_five_times_goes_to_the_quarantine_with_an_alert(before: int) -> None:
    outcome, lines = run("[hold]", hold_count=before)
    assert (outcome.verdict, outcome.hold_count) == ("quarantine", before + 1)
    assert any(level == "critical" for level, _ in lines) is (before == 5)


def test_edits_and_log_entries() -> None:
    outcome, lines = run("tag me")
    assert [(edit.action, edit.name, edit.value) for edit in outcome.edits] == [("insert", "X-Tag", "7")]
    assert lines[0] == ("info", "MID 7 Custom Log Entry: tagged tag me")
    assert [item.rule for item in outcome.decisions] == ["tag", ""]


def test_a_recorder_of_ones_own_sees_every_filter() -> None:
    notes = Notes(every=True)
    pipeline().run(*message("hello"), notes=notes)
    assert [item.rule for item in notes.decisions] == ["hold", "virus", "tag", "dropit", "bounceit", ""]


async def test_the_same_off_the_loop() -> None:
    accepted, content = message("[drop]")
    outcome = await pipeline().run_in_thread(accepted, Readable.of(content))
    assert outcome.verdict == "drop"


def test_lines_reach_the_mail_log_with_their_level(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "mail.current")
    notes = Notes(lines=[("info", "one"), ("warning", "two"), ("critical", "three")])
    notes.write(log)
    log.close()
    text = (tmp_path / "mail.current").read_text()
    assert [line.split(" ", 5)[5] for line in text.splitlines()] == ["Info: one", "Warning: two", "Critical: three"]


SOURCES = AlternateSources(
    [AlternateSource("10.0.0.0/8", "Out1"), AlternateSource("@b", "Main")],
    {"out1": "Out1", "out2": "Out2", "main": "", "auto": "auto"},
)


def leaves(
    text: str,
    *,
    remote_ip: str = "10.1.1.1",
    original: str = "",
    before: Sequence[Decision] = (),
    finished: bool = False,
) -> Outcome:
    program = compile_filters(text)
    accepted = Accepted(7, 3, 0.0, "a@b", [Recipient(0, "c@d")], 4, remote_ip=remote_ip, original_sender=original)
    done = ["message-filters"] if finished else []
    line = Pipeline(lambda: program, sources=lambda: SOURCES)
    return line.run(accepted, b"\r\n", finished=done, before=before)


def test_who_sent_a_message_decides_by_which_virtual_gateway_it_leaves() -> None:
    outcome = leaves("")
    assert outcome.gateway == "Out1"
    assert [(one.rule, one.input, one.verdict) for one in outcome.decisions if one.stage == GATEWAY] == [
        ("", "10.0.0.0/8", "Out1")
    ]
    assert leaves("", remote_ip="192.0.2.1").gateway == ""


def test_the_sender_before_masquerading_decides_by_which_virtual_gateway_a_message_leaves() -> None:
    found = leaves("", remote_ip="192.0.2.1").decisions
    assert [(one.rule, one.input, one.verdict) for one in found if one.stage == GATEWAY] == [("", "@b", "")]
    found = leaves("", remote_ip="192.0.2.1", original="a@elsewhere").decisions
    assert not [one for one in found if one.stage == GATEWAY]


def test_a_filter_overrides_the_table() -> None:
    assert leaves("a: if true { alt-src-host('OUT2'); }").gateway == "Out2"
    assert leaves("a: if true { alt-src-host('Main'); }").gateway == ""
    assert leaves("a: if true { alt-src-host('Out2'); } b: if true { alt-src-host('auto'); }").gateway == "auto"


def test_what_a_filter_chose_holds_after_a_quarantine() -> None:
    held = leaves("a: if true { alt-src-host('Out2'); bounce-profile('short'); quarantine('Policy'); }")
    assert (held.verdict, held.bounce_profile) == ("quarantine", "short")
    released = leaves("", before=held.decisions, finished=True)
    assert (released.gateway, released.bounce_profile) == ("Out2", "short")


def test_after_a_quarantine_the_table_of_that_time_decides_if_no_filter_did() -> None:
    earlier = Decision(GATEWAY, "", "10.0.0.0/8", "Old")
    assert leaves("", before=[earlier], finished=True).gateway == "Out1"
