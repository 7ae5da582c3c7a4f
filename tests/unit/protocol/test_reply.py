"""Replies: what goes out is one safe line each, what comes in is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import PermanentFailure, TemporaryFailure, failure
from protocol.reply import Reply, ReplyParser, parse_reply


def test_every_line_carries_the_enhanced_code():
    reply = Reply(214, "2.0.0", ("one", "two"))
    assert reply.encode() == b"214-2.0.0 one\r\n214 2.0.0 two\r\n"
    assert Reply(354, "", "go").encode() == b"354 go\r\n"


def test_text_cannot_start_a_new_line():
    assert Reply(550, "5.1.1", "no\r\n250 ok\u2028").encode() == b"550 5.1.1 no??250 ok?\r\n"


def test_a_line_is_cut_at_512_octets():
    wire = Reply(250, "2.0.0", "x" * 600).encode()
    assert len(wire) == 512
    assert wire.endswith(b"x\r\n")


@pytest.mark.parametrize("code", [0, 199, 600])
def test_a_code_that_smtp_does_not_know_is_refused(code):
    with pytest.raises(ValueError, match="not an SMTP reply code"):
        Reply(code, "", "")


def test_classes():
    assert Reply(354).positive
    assert Reply(451).temporary
    assert Reply(550).permanent
    assert not Reply(550).temporary


def test_the_type_of_a_failure_is_its_severity():
    assert isinstance(failure(Reply(451, "4.3.0", "later")), TemporaryFailure)
    refused = failure(Reply(550, "5.1.1", "no"), "private")
    assert isinstance(refused, PermanentFailure)
    assert str(refused) == "private"
    assert "private" not in str(refused.reply)


def test_reads_what_a_plugin_wrote():
    assert parse_reply("250 2.1.0 Ok") == Reply(250, "2.1.0", "Ok")
    assert parse_reply("250-a\r\n250 b") == Reply(250, "", ("a", "b"))
    assert parse_reply("250 5.1.0 odd") == Reply(250, "", "5.1.0 odd")
    with pytest.raises(ValueError, match="not an SMTP reply"):
        parse_reply("ok")


def test_reads_replies_in_order_and_holds_what_is_incomplete():
    parser = ReplyParser()
    replies = parser.feed(b"250-mx\r\n250-SIZE 10\r\n250 DSN\r\n354 go\r\n25")
    assert replies == [Reply(250, "", ("mx", "SIZE 10", "DSN")), Reply(354, "", "go")]
    assert not parser.idle
    assert parser.feed(b"0\r\n") == [Reply(250, "", "")]
    assert parser.idle


def test_takes_the_enhanced_code_off_each_line():
    assert ReplyParser().feed(b"250-2.1.5 a\r\n250 2.1.5 b\r\n") == [Reply(250, "2.1.5", ("a", "b"))]


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"250 ok\n", "bare LF"),
        (b"250 o\rk\r\n", "bare CR"),
        (b"hello\r\n", "without a code"),
        (b"250ok\r\n", "without a code"),
        (b"150 ok\r\n", "without a code"),
        (b"250-a\r\n251 b\r\n", "different codes"),
        (b"250 " + b"x" * 3000, "too long"),
        (b"250 " + b"x" * 3000 + b"\r\n", "too long"),
        (b"250-x\r\n" * 200, "too many lines"),
    ],
)
def test_a_fault_discards_all_that_follows(octets, fault):
    parser = ReplyParser()
    parser.feed(octets)
    assert fault in (parser.fault or "")
    assert parser.feed(b"250 ok\r\n") == []


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_split_changes_nothing(octets, cut):
    whole, parts = ReplyParser(), ReplyParser()
    assert whole.feed(octets) == parts.feed(octets[:cut]) + parts.feed(octets[cut:])
    assert whole.fault == parts.fault
