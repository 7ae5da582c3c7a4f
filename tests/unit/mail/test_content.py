import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.record import Accepted, Edit, Outcome, Recipient
from mail.content import header_line, render, render_chunks, replacements, splice
from mail.mime import Headers
from ops.lab.corpus import shipped

TRACE = b"Received: from a (b [192.0.2.1])\r\n\tby c with ESMTP\r\n\tid 7; date\r\n"


def accepted(content: bytes) -> Accepted:
    return Accepted(7, 1, 0.0, "a@b", [Recipient(0, "c@d")], len(content), trace=TRACE)


def outcome(*edits: Edit) -> Outcome:
    return Outcome(7, "deliver", edits=list(edits))


def chunked(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


@given(st.binary(max_size=400), st.integers(1, 50))
def test_without_edits_the_message_ends_with_the_octets_that_were_sent(content: bytes, size: int) -> None:
    assert render(accepted(content), outcome(), content) == TRACE + content
    assert b"".join(render_chunks(accepted(content), None, chunked(content, size))) == TRACE + content


@given(st.binary(max_size=400), st.integers(1, 50))
def test_inserted_headers_go_between_trace_and_content(content: bytes, size: int) -> None:
    wanted = TRACE + b"X-B: 2\r\nX-A: 1\r\n" + content
    edits = outcome(Edit("insert", "X-A", "1"), Edit("insert", "X-B", "2"))
    assert render(accepted(content), edits, content) == wanted
    assert b"".join(render_chunks(accepted(content), edits, chunked(content, size))) == wanted


@given(st.lists(st.sampled_from([b"X-A: 1\r\n", b"x-a:\r\n\t2\r\n", b"B: 3\r\n", b"X-AB: 4\r\n", b"C: \xff\r\n"])))
def test_strip_cuts_the_header_lines_and_nothing_else(fields: list[bytes]) -> None:
    body = b"\r\nX-A: not a header\r\n.\r\n\xff"
    content = b"".join(fields) + body
    kept = b"".join(field for field in fields if not field.lower().startswith(b"x-a:")) + body
    edits = outcome(Edit("strip", "X-A"))
    assert render(accepted(content), edits, content) == TRACE + kept
    for size in (1, 7, 1000):
        assert b"".join(render_chunks(accepted(content), edits, chunked(content, size))) == TRACE + kept


@given(st.binary(max_size=200), st.integers(1, 60), st.integers(0, 200))
def test_addresses_are_exchanged_and_texts_inserted_whatever_the_chunks(body: bytes, size: int, at: int) -> None:
    section = b"From: a@in.example\r\nX-A: 1\r\nTo: b@in.example, a@in.example\r\n"
    content = section + b"\r\n" + body
    offset = len(section) + 2 + min(at, len(body))
    edits = outcome(
        *replacements("From", {"a@in.example": "A@out.example"}),
        splice("footer", offset, "utf-8", "gr\u00fc\u00df\r\n"),
        Edit("strip", "X-A"),
        splice("footer", offset, "ascii", "second\r\n"),
    )
    wanted = b"From: A@out.example\r\nTo: b@in.example, a@in.example\r\n" + content[len(section) : offset]
    wanted = TRACE + wanted + "gr\u00fc\u00df\r\n".encode() + b"second\r\n" + content[offset:]
    assert render(accepted(content), edits, content) == wanted
    assert b"".join(render_chunks(accepted(content), edits, chunked(content, size))) == wanted


def test_many_exchanges_fit_into_edits_that_the_quarantine_takes() -> None:
    changes = {f"user{n}@in.example": f"user{n}@out.example" for n in range(2_000)}
    edits = replacements("To", changes)
    assert max(len(edit.value) for edit in edits) <= 16_384
    content = b"To: " + b",\r\n ".join(address.encode() for address in changes) + b"\r\n\r\n"
    assert render(accepted(content), outcome(*edits), content) == TRACE + content.replace(b"@in.", b"@out.")


def test_edits_apply_in_order() -> None:
    edits = outcome(
        Edit("insert", "X-A", "gone"),
        Edit("insert", "X-B", "stays"),
        Edit("strip", "x-a"),
        Edit("insert", "X-A", "new"),
    )
    assert render(accepted(b""), edits, b"X-A: old\r\n\r\n") == TRACE + b"X-A: new\r\nX-B: stays\r\n\r\n"


def test_our_own_trace_line_is_never_stripped() -> None:
    edits = outcome(Edit("strip", "Received"))
    assert render(accepted(b""), edits, b"Received: x\r\nA: b\r\n\r\n") == TRACE + b"A: b\r\n\r\n"


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", b"X: plain\r\n"),
        ("a\r\nBcc: evil@example.test", b"X: a Bcc: evil@example.test\r\n"),
        ("café", b"X: =?utf-8?b?Y2Fmw6k=?=\r\n"),
        ("", b"X: \r\n"),
    ],
)
def test_a_value_stays_in_its_header(value: str, line: bytes) -> None:
    assert header_line("X", value) == line


@pytest.mark.parametrize("value", ["a" * 5000, "word " * 1000, "é" * 3000])
def test_long_values_are_folded(value: str) -> None:
    line = header_line("X-Long", value)
    assert all(len(part) <= 998 for part in line.split(b"\r\n"))
    assert len(Headers(line + b"\r\n").fields) == 1


def test_real_messages_pass_unchanged() -> None:
    samples = list(shipped())
    assert len(samples) > 50, "the extra `lab` ships them"
    for sample in samples:
        edits = outcome(Edit("insert", "X-A", "1"), Edit("strip", "X-No-Such-Header"))
        expected = TRACE + b"X-A: 1\r\n" + sample.content
        assert render(accepted(sample.content), edits, sample.content) == expected, sample.name
