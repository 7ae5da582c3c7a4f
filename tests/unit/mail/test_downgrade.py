"""Content made fit for peers without 8BITMIME or BINARYMIME: the same message, read by the standard library."""

import email
import email.policy
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail.downgrade import Unconvertible, downgrade, needs_smtputf8

MIXED = (
    b'From: a@x.test\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=b 1"\r\n'
    b"Content-Transfer-Encoding: 8bit\r\n\r\npre\xe4mble\r\n--=b 1\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\nGr\xc3\xbc\xc3\x9fe = 1 \r\n.\r\nno line end\r\n--=b 1\r\n"
    b"Content-Type: text/plain\r\n\r\nascii stays\r\n--=b 1\r\nContent-Type: image/png\r\n"
    b"Content-Transfer-Encoding: 8bit\r\n\r\n\x89PNG\xff\r\n--=b 1--\r\nepilogue\r\n"
)


def parts(content: bytes) -> list[tuple[str, bytes]]:
    message = email.message_from_bytes(content, policy=email.policy.compat32)
    leaves = [part for part in message.walk() if not part.is_multipart()]
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in leaves]  # type: ignore[misc]


def text(body: bytes, *fields: str) -> bytes:
    lines = ["MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", *fields]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def test_each_part_is_encoded_as_it_needs() -> None:
    fit = downgrade(MIXED, eight_bit=False, binary=False)
    assert fit.isascii()
    assert parts(fit) == parts(MIXED)
    assert b"Content-Transfer-Encoding: 7bit\r\n\r\n" in fit
    assert fit.count(b"quoted-printable") == 1
    assert b"Content-Type: text/plain\r\n\r\nascii stays\r\n--=b 1\r\n" in fit
    assert fit.endswith(b"--=b 1--\r\nepilogue\r\n")
    assert b"\n" not in fit.replace(b"\r\n", b"")


def test_what_is_fit_stays_octet_for_octet() -> None:
    plain = text(b"hi\r\n")
    assert downgrade(plain, eight_bit=False, binary=False) is plain
    assert downgrade(MIXED, eight_bit=True, binary=False) is MIXED


def test_text_that_is_not_mime_gets_its_fields() -> None:
    """RFC 1428 3: the character set is unknown unless it shows."""
    fit = downgrade(b"Subject: x\r\n\r\nGr\xfc\xdfe from here and there\r\n", eight_bit=False, binary=False)
    assert b"MIME-Version: 1.0\r\n" in fit
    assert b"charset=unknown-8bit" in fit
    assert parts(fit) == [("text/plain", b"Gr\xfc\xdfe from here and there\r\n")]
    assert b"charset=utf-8" in downgrade(b"\r\n\xc3\xbc and more of it", eight_bit=False, binary=False)


@pytest.mark.parametrize("kind", ["multipart/signed", "multipart/encrypted"])
def test_a_signed_part_is_never_touched(kind: str) -> None:
    content = MIXED.replace(b"multipart/mixed", kind.encode())
    with pytest.raises(Unconvertible) as caught:
        downgrade(content, eight_bit=False, binary=False)
    assert caught.value.reply.enhanced == "5.6.3"
    assert kind in str(caught.value.reply)


def test_an_embedded_message_is_never_touched() -> None:
    outer = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
        b"Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n\xe4\r\n--o--\r\n"
    )
    with pytest.raises(Unconvertible):
        downgrade(outer, eight_bit=False, binary=False)
    digest = outer.replace(b"multipart/mixed", b"multipart/digest").replace(b"Content-Type: message/rfc822", b"")
    with pytest.raises(Unconvertible):
        downgrade(digest.replace(b"--o\r\n\r\n\r\n", b"--o\r\n\r\n"), eight_bit=False, binary=False)


def test_a_signed_part_of_ascii_does_not_stand_in_the_way_of_others() -> None:
    signed = b"Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\r\nas it is  \r\n--s--"
    content = (
        b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + signed + b"\r\n--o\r\n\r\n"
        b"h\xc3\xa4 and so on and so on\r\n--o--\r\n"
    )
    fit = downgrade(content, eight_bit=False, binary=False)
    assert signed in fit
    assert fit.isascii()


@pytest.mark.parametrize("content", [MIXED.replace(b'"=b 1"', b"none"), MIXED.replace(b'; boundary="=b 1"', b"")])
def test_parts_that_cannot_be_told_apart_are_refused(content: bytes) -> None:
    with pytest.raises(Unconvertible, match="told apart"):
        downgrade(content, eight_bit=False, binary=False)


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_a_part_that_lies_about_its_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(Unconvertible, match=encoding):
        downgrade(text(b"\xe4\r\n", f"Content-Transfer-Encoding: {encoding}"), eight_bit=False, binary=False)


def test_binary_parts_become_base64_and_text_stays_for_a_peer_with_8bitmime() -> None:
    content = MIXED.replace(b"\x89PNG\xff", b"\x89PNG\0\n\r\xff").replace(
        b"image/png\r\nContent-Transfer-Encoding: 8bit", b"image/png\r\nContent-Transfer-Encoding: binary"
    )
    fit = downgrade(content, eight_bit=True, binary=True)
    assert parts(fit)[2] == ("image/png", b"\x89PNG\0\n\r\xff")
    assert "Gr\u00fc\u00dfe".encode() in fit
    assert b"\n" not in fit.replace(b"\r\n", b"")


def test_a_part_that_is_only_called_binary_is_called_otherwise() -> None:
    fit = downgrade(text(b"hi\r\n", "Content-Transfer-Encoding: binary"), eight_bit=True, binary=True)
    assert fit == text(b"hi\r\n", "Content-Transfer-Encoding: 8bit")


def test_binary_content_that_cannot_be_converted_says_so() -> None:
    content = MIXED.replace(b"multipart/mixed", b"multipart/signed").replace(b"PNG", b"\0")
    with pytest.raises(Unconvertible) as caught:
        downgrade(content, eight_bit=True, binary=True)
    assert caught.value.reply.enhanced == "5.6.1"


def test_nested_parts_without_end_are_bounded() -> None:
    content = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(60))
    with pytest.raises(Unconvertible, match="too many"):
        downgrade(b"MIME-Version: 1.0\r\n" + content + b"\r\n\xe4\r\n", eight_bit=False, binary=False)


@given(st.binary(max_size=300), st.sampled_from(["text/plain", "application/pdf"]))
def test_the_octets_of_a_part_survive(body: bytes, kind: str) -> None:
    body = body.replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\xe4\r\n"
    head = f"MIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n".encode()
    fit = downgrade(head + body, eight_bit=False, binary=False)
    assert fit.isascii()
    assert parts(fit)[0][1] == body
    assert max(map(len, fit.split(b"\r\n"))) <= 78


@given(st.binary(max_size=600))
def test_nothing_that_a_stranger_wrote_raises_anything_else(data: bytes) -> None:
    for eight_bit, binary in ((False, False), (True, True), (False, True)):
        try:
            fit = downgrade(MIXED[: MIXED.index(b"Gr")] + data, eight_bit=eight_bit, binary=binary)
        except Unconvertible:
            continue
        assert eight_bit or fit.isascii()


def test_header_fields_beyond_ascii_need_smtputf8_wherever_they_are() -> None:
    message = EmailMessage()
    message["Subject"] = "x"
    message.set_content("\u00fc")
    assert not needs_smtputf8(message.as_bytes(policy=email.policy.SMTP))
    assert not needs_smtputf8(MIXED)
    assert needs_smtputf8("Subject: \u00fc\r\n\r\nhi\r\n".encode())
    assert needs_smtputf8(MIXED.replace(b"image/png", 'image/png; name="\u00fc"'.encode()))
    assert needs_smtputf8(MIXED.replace(b"image/png", b"message/global"))
