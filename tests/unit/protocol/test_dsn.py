"""The fields of a delivery status notification, and xtext."""

import email

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.dsn import (
    RecipientStatus,
    address_value,
    clean,
    delivery_status,
    message_fields,
    recipient_fields,
    xtext_decode,
    xtext_encode,
)


def test_the_fields_of_a_failed_recipient() -> None:
    fields = recipient_fields(
        RecipientStatus(
            "b@y.test",
            "failed",
            "5.1.1",
            "550 5.1.1 nobody",
            "mx.y.test",
            original="a@y.test",
            last_attempt_at=86_400.0,
        )
    )
    assert fields.split("\r\n") == [
        "Original-Recipient: rfc822; a@y.test",
        "Final-Recipient: rfc822; b@y.test",
        "Action: failed",
        "Status: 5.1.1",
        "Remote-MTA: dns; mx.y.test",
        "Diagnostic-Code: smtp; 550 5.1.1 nobody",
        "Last-Attempt-Date: Fri, 02 Jan 1970 00:00:00 +0000",
        "",
    ]


def test_a_delayed_recipient_says_until_when() -> None:
    fields = recipient_fields(RecipientStatus("b@y.test", "delayed", "", retry_until_at=86_400.0))
    assert "Status: 4.0.0\r\n" in fields
    assert "Will-Retry-Until: Fri, 02 Jan 1970 00:00:00 +0000\r\n" in fields


@pytest.mark.parametrize("status", ["", "5.1", "9.9.9", "5.1.1\r\nX: y", "5.1.1 x"])
def test_a_status_that_is_none_becomes_the_actions_own(status: str) -> None:
    assert "Status: 5.0.0\r\n" in recipient_fields(RecipientStatus("b@y.test", "failed", status))


@given(st.text(max_size=2_000), st.text(max_size=2_000))
def test_a_value_never_starts_a_line_or_a_header(diagnostic: str, host: str) -> None:
    status = RecipientStatus("b@y.test", "failed", "5.0.0", "x" + diagnostic, "h" + host, original="o" + host)
    fields = recipient_fields(status)
    lines = fields.removesuffix("\r\n").split("\r\n")
    assert [line.partition(":")[0] for line in lines] == [
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
    ]
    assert all(len(line) <= 998 and line.isascii() and line.isprintable() for line in lines)


def test_an_address_that_is_not_ascii_is_written_as_rfc_6533_says() -> None:
    assert address_value("ä+b@y.test") == "utf-8; \\x{E4}\\x{2B}b@y.test"
    assert address_value("a+b@y.test") == "rfc822; a+b@y.test"


def test_the_whole_part_is_read_by_the_standard_library() -> None:
    body = delivery_status(
        message_fields("gw.test", 86_400.0, "QQ\r\n314"),
        [RecipientStatus("a@y.test", "failed", "5.1.1"), RecipientStatus("b@y.test", "failed", "5.2.2")],
    )
    message = email.message_from_bytes(b"Content-Type: message/delivery-status\r\n\r\n" + body)
    groups = message.get_payload()
    assert isinstance(groups, list)
    assert [group["Status"] for group in groups if not isinstance(group, str)] == [None, "5.1.1", "5.2.2"]
    assert groups[0]["Original-Envelope-Id"] == "QQ 314"  # type: ignore[index]


def test_cleaning_keeps_what_is_printable() -> None:
    assert clean("a\r\nb\x1b[31m\0ü") == "a b?[31m??"


@given(st.text(st.characters(exclude_categories=("Cs",), min_codepoint=32, exclude_characters="\x7f")))
def test_xtext_comes_back(text: str) -> None:
    encoded = xtext_encode(text)
    assert all("!" <= character <= "~" and character != "=" for character in encoded)
    assert xtext_decode(encoded) == text


@pytest.mark.parametrize("text", ["a b", "+4", "+4g", "+zz", "a=b", "+0D+0A", "+00", "+FF", "ü", "+4a"])
def test_what_is_not_xtext_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        xtext_decode(text)
