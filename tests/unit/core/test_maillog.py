"""The mail log: its line, its buffering, its roll-over, and that no peer can write a line of its own."""

import fcntl
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.maillog import MailLog, clean


def test_a_line_has_the_shape_operators_know(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "mail.current")
    log.info("MID 5 queued for delivery")
    assert not (tmp_path / "mail.current").exists()
    log.flush()
    line = (tmp_path / "mail.current").read_text()
    assert re.fullmatch(r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4} Info: MID 5 queued for delivery\n", line)


def test_a_warning_is_written_at_once_and_debug_is_off(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "mail.current")
    log.debug("unseen")
    log.warning("seen")
    assert "seen" in (tmp_path / "mail.current").read_text()
    assert "unseen" not in (tmp_path / "mail.current").read_text()


def test_two_writers_share_a_file_that_rolls_over_and_is_pruned(tmp_path: Path) -> None:
    one, two = (MailLog(tmp_path / "mail.current", max_bytes=2000, keep=3) for _ in range(2))
    for n in range(200):
        (one, two)[n % 2].info(f"line {n:04d} " + "x" * 40)
        one.flush()
        two.flush()
    saved = sorted(tmp_path.glob("mail.@*.s"))
    assert len(saved) == 3
    assert all(file.stat().st_size < 3000 for file in saved)
    text = "".join(file.read_text() for file in [*saved, tmp_path / "mail.current"])
    seen = [int(number) for number in re.findall(r"line (\d{4})", text)]
    assert sorted(seen) == list(range(200 - len(seen), 200))


def test_blanks_of_any_width_stay_and_line_ends_where_they_are_wanted() -> None:
    assert clean("日本\u3000語\u00a0\n") == "日本\u3000語\u00a0\\x0a"
    assert clean("a\r\n\tb\x1b", None, lines=True) == "a\n        b\\x1b"


@given(st.text())
def test_cleaned_text_cannot_make_a_line_or_move_a_terminal(text: str) -> None:
    cleaned = clean(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", cleaned)
    assert len(cleaned.encode("utf-8", "strict")) >= 0


def test_a_log_that_cannot_be_written_does_not_stop_the_mail(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where a folder should be")
    log = MailLog(tmp_path / "log" / "mail.current")
    log.warning("still alive")


def test_a_writer_that_comes_late_to_a_roll_over_keeps_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It kept it until its next line, and every other process that came to roll over stood still as long."""
    log = MailLog(tmp_path / "mail.current", max_bytes=10)
    lock = fcntl.flock

    def overtaken(file: int, operation: int) -> None:
        lock(file, operation)
        (tmp_path / "mail.current").rename(tmp_path / "mail.@1.s")

    monkeypatch.setattr(fcntl, "flock", overtaken)
    log.warning("longer than ten octets")
    with (tmp_path / "mail.@1.s").open() as rolled:
        lock(rolled, fcntl.LOCK_EX | fcntl.LOCK_NB)
    monkeypatch.undo()
    log.warning("the next line")
    assert any("the next line" in file.read_text() for file in tmp_path.iterdir())


@pytest.mark.parametrize("character", ["\u061c", "\xad", "\ufff9", "\u180e", "\u206a", "\U000e0041"])
def test_what_turns_text_round_or_is_not_seen_is_shown_escaped(character: str) -> None:
    assert clean(f"a{character}b") == f"a{ascii(character)[1:-1]}b"


def test_lines_that_are_lost_are_told_on_standard_error_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A log in a folder of another user was empty, and nothing said why."""
    (tmp_path / "logs").write_text("a file in the way")
    log = MailLog(tmp_path / "logs" / "mail.current")
    log.warning("one")
    log.warning("two")
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert [(one.name, one.value) for one in log.condition().figures] == [("log_lines_lost_total", 2)]
    assert f"{tmp_path}/logs/mail.current: cannot be written" in error
    (tmp_path / "logs").unlink()
    log.warning("three")
    assert "2 log lines were lost" in capfd.readouterr().err
    assert "three" in (tmp_path / "logs" / "mail.current").read_text()
