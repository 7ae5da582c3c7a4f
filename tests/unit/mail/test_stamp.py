"""Headings and footers go where they can be read, and every octet that was sent stays."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.record import Accepted, Outcome, Recipient
from mail.content import render, render_chunks
from mail.filter.compiler import compile_filters
from mail.mime import Headers
from mail.pipeline import Notes, Pipeline
from mail.stamp import Disclaimers, NotStamped, Where, disclaimer, stamp

TEXT = "Confidential.\r\nSecond line =20\r\n"
MIXED = (
    b'Content-Type: multipart/mixed;\r\n boundary="b+1"\r\n\r\npreamble\r\n--b+1\r\n\r\none\r\n--b+1 \r\n'
    b"Content-Type: application/octet-stream\r\n\r\n--b+10\r\n--b+1--\r\nepilogue\r\n"
)


def accepted(content: bytes) -> Accepted:
    return Accepted(7, 1, 0.0, "a@b", [Recipient(0, "c@d")], len(content), listener="In")


def stamped(content: bytes, where: Where = "footer", text: str = TEXT) -> bytes:
    edits = [stamp(content, Headers(content), where, text)]
    whole = render(accepted(content), Outcome(7, "deliver", edits=edits), content)
    for size in (1, 7, 1000):
        chunks = [content[at : at + size] for at in range(0, len(content), size)]
        assert b"".join(render_chunks(accepted(content), Outcome(7, "deliver", edits=edits), chunks)) == whole
    return whole


def without(whole: bytes, content: bytes) -> bytes:
    """Give what was inserted, after making sure that nothing else changed."""
    more = len(whole) - len(content)
    at = next(at for at in range(len(content) + 1) if whole[:at] + whole[at + more :] == content)
    return whole[at : at + more]


@pytest.mark.parametrize("head", [b"", b"Content-Type: text/plain; charset=ISO-8859-1\r\n", b"MIME-Version: 1.0\r\n"])
def test_plain_text_gets_the_text_at_its_beginning_or_end(head: bytes) -> None:
    content = head + b"Subject: x\r\n\r\nbody\r\n"
    assert stamped(content) == content + TEXT.encode()
    assert stamped(content, "heading") == head + b"Subject: x\r\n\r\n" + TEXT.encode() + b"body\r\n"


def test_a_body_that_does_not_end_its_line_is_ended() -> None:
    assert stamped(b"Subject: x\r\n\r\nbody") == b"Subject: x\r\n\r\nbody\r\n" + TEXT.encode()


def test_quoted_printable_stays_readable() -> None:
    head = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    whole = stamped(head + b"caf=C3=A9\r\n", text="gr\u00fc\u00df = ok\r\n")
    message = email.message_from_bytes(whole, policy=email.policy.default)
    assert message.get_content().splitlines() == ["caf\u00e9", "gr\u00fc\u00df = ok"]


@pytest.mark.parametrize("where", ["heading", "footer"])
def test_multipart_mixed_gets_a_part_of_its_own(where: Where) -> None:
    whole = stamped(MIXED, where, "gr\u00fc\u00df\r\n")
    without(whole, MIXED)
    message = email.message_from_bytes(whole, policy=email.policy.default)
    parts = list(message.iter_parts())
    assert len(parts) == 3
    assert parts[0 if where == "heading" else -1].get_content().strip() == "gr\u00fc\u00df"


@pytest.mark.parametrize(
    ("head", "body", "reason"),
    [
        (b"Content-Type: text/html\r\n", b"<p>\r\n", "text/html"),
        (b"Content-Type: multipart/signed; boundary=b\r\n", b"--b\r\n\r\n--b--\r\n", "multipart/signed"),
        (b"Content-Type: multipart/alternative; boundary=b\r\n", b"--b\r\n\r\n--b--\r\n", "alternative"),
        (b"Content-Type: application/pkcs7-mime\r\n", b"x\r\n", "pkcs7"),
        (b"Content-Type: multipart/mixed; boundary=b\r\n", b"--b\r\n\r\nnever closed\r\n", "not closed"),
        (b"Content-Type: multipart/mixed\r\n", b"--b\r\n\r\n--b--\r\n", "no boundary"),
        (b"Content-Transfer-Encoding: base64\r\n", b"YQ==\r\n", "base64"),
        (b"Content-Type: text/plain; charset=utf-16\r\n", b"x\r\n", "utf-16"),
        (b"Content-Type: text/plain\r\nContent-Type: text/html\r\n", b"x\r\n", "ambiguous"),
        (b"", b"-----BEGIN PGP MESSAGE-----\r\n", "PGP"),
    ],
)
def test_what_would_be_damaged_is_left_alone(head: bytes, body: bytes, reason: str) -> None:
    content = head + b"Subject: x\r\n\r\n" + body
    with pytest.raises(NotStamped, match=reason):
        stamp(content, Headers(content), "footer", TEXT)


def test_a_text_that_the_message_cannot_hold_is_left_out() -> None:
    for head in (b"", b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n"):
        content = head + b"\r\nx\r\n"
        with pytest.raises(NotStamped, match="cannot be written"):
            stamp(content, Headers(content), "footer", "\u20ac\r\n")


@given(st.binary(max_size=300))
def test_whatever_a_message_holds_only_the_text_is_added(body: bytes) -> None:
    content = b"Subject: x\r\n\r\n" + body
    try:
        whole = stamped(content)
    except NotStamped:
        return
    assert whole.startswith(content)
    assert whole[len(content) :] in (TEXT.encode(), b"\r\n" + TEXT.encode())


def test_listeners_and_filters_ask_and_the_log_says_what_came_of_it() -> None:
    program = compile_filters("f: if subject == 'x' { add-footer('Legal'); }")
    texts = {name.lower(): disclaimer(name, f"{name} $MID\n", "esa.test") for name in ("Legal", "Warn")}
    table = Disclaimers(texts, {"In": (("heading", "warn"),)})
    pipeline = Pipeline(lambda: program, disclaimers=lambda: table)
    notes = Notes()
    content = b"Subject: x\r\n\r\nbody\r\n"
    outcome = pipeline.run(accepted(content), content, notes=notes)
    assert render(accepted(content), outcome, content) == b"Subject: x\r\n\r\nWarn 7\r\nbody\r\nLegal 7\r\n"
    assert [text for _, text in notes.lines][:2] == [
        "MID 7 heading 'Warn' stamped",
        "MID 7 footer 'Legal' stamped",
    ]
    html = b"Content-Type: text/html\r\n" + content
    notes = Notes()
    outcome = pipeline.run(accepted(html), html, notes=notes)
    assert outcome.edits == []
    assert "MID 7 footer 'Legal' not stamped: it is text/html" in [text for _, text in notes.lines]
