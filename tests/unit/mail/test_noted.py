"""What the mail log says of header fields, and of connections that took too long."""

from pathlib import Path

import pytest

from core.maillog import MailLog
from core.smtp.deadline import OVERSTAYED, TIMED_OUT, UNSUCCESSFUL
from mail.mime import Headers
from mail.noted import cut_off, note_headers
from protocol.reply import Reply

HEAD = b"Message-ID: <1@a>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-Kind: a\x1bb\r\nX-Kind: two\r\n\r\n"


def _lines(log: MailLog, path: Path) -> list[str]:
    log.flush()
    return [line.partition(" Info: ")[2] for line in path.read_text().splitlines()] if path.exists() else []


def test_message_id_and_subject_are_logged_and_chosen_fields_are_kept(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "mail.current")
    log.details.headers = ("x-kind", "X-None")
    assert note_headers(log, 5, Headers(HEAD)) == ("grüße", [("x-kind", r"a\x1bb")])
    assert _lines(log, tmp_path / "mail.current") == ["MID 5 Message-ID '<1@a>'", 'MID 5 Subject "grüße"']


def test_neither_is_logged_where_that_is_switched_off(tmp_path: Path) -> None:
    log = MailLog(tmp_path / "mail.current")
    log.details.message_id = log.details.subject = False
    assert note_headers(log, 5, Headers(HEAD)) == ("grüße", [])
    assert _lines(log, tmp_path / "mail.current") == []


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (UNSUCCESSFUL, "no messages injected within timeout period"),
        (OVERSTAYED, "exceeded allowable connection time"),
        (TIMED_OUT, "timeout exceeded"),
        (Reply(221, "2.0.0", "Closing connection"), ""),
    ],
)
def test_a_connection_that_took_too_long_says_why(reply: Reply, words: str) -> None:
    assert cut_off(str(reply)) == words
