"""`mail.delivery.carriage`: what of a message goes to which peer."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from core.record import Accepted, Outcome, Recipient
from mail.delivery.carriage import prepare
from protocol.errors import PermanentFailure
from protocol.smtp.transaction import Transaction

MODERN = {"8BITMIME": "", "SMTPUTF8": "", "CHUNKING": "", "BINARYMIME": "", "DSN": ""}
TEXT = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"


def job(
    content: bytes, *recipients: Recipient, sender: str = "a@here.test", streamed: bool = False, **facts: Any
) -> Any:
    rows = list(recipients) or [Recipient(0, "b@x.test")]
    accepted = Accepted(7, 1, 0.0, sender, rows, len(content), **facts)
    pieces: Sequence[bytes] = [content[:10], content[10:]] if streamed else (content,)
    outcome = Outcome(7, "deliver")
    return SimpleNamespace(
        mid=7, sender=sender, recipients=rows, accepted=accepted, outcome=outcome, chunks=lambda: pieces
    )


async def made(one: Any, offers: dict[str, str], eight_bit: Any = "convert") -> Transaction:
    transaction = await prepare(one, one.recipients, offers, eight_bit)
    transaction.content = (b"".join(transaction.content),)
    return transaction


def octets(transaction: Transaction) -> bytes:
    return b"".join(transaction.content)


@pytest.mark.parametrize("streamed", [False, True])
async def test_text_of_eight_bits_is_converted_for_a_peer_that_does_not_take_it(streamed: bool) -> None:
    content = TEXT + "Gr\u00fc\u00dfe an alle und jeden\r\n".encode()
    found = await made(job(content, body="8BITMIME", streamed=streamed), {})
    assert b"quoted-printable" in octets(found)
    assert (octets(found).isascii(), found.body, found.size) == (True, "7BIT", len(octets(found)))


async def test_content_that_was_called_7bit_and_is_not_gets_the_right_name() -> None:
    content = TEXT + b"\xc3\xa4\r\n"
    found = await made(job(content), {"8BITMIME": ""})
    assert (octets(found), found.body) == (content, "8BITMIME")


async def test_ascii_goes_to_everybody_untouched() -> None:
    found = await made(job(TEXT + b"hi\r\n", body="8BITMIME"), {})
    assert octets(found) == TEXT + b"hi\r\n"


async def test_eight_bits_pass_or_bounce_if_told_so() -> None:
    content = TEXT + b"\xc3\xa4\r\n"
    assert octets(await made(job(content, body="8BITMIME"), {}, "pass")) == content
    with pytest.raises(PermanentFailure) as caught:
        await made(job(content, body="8BITMIME"), {}, "bounce")
    assert caught.value.reply.enhanced == "5.6.3"


async def test_binary_content_goes_out_as_it_is_or_as_base64() -> None:
    content = b"MIME-Version: 1.0\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n\xff"
    one = job(content, body="BINARYMIME")
    found = await made(one, MODERN)
    assert (octets(found), found.body) == (content, "BINARYMIME")
    found = await made(one, {"8BITMIME": ""})
    assert b"base64" in octets(found)
    assert found.body == "7BIT"
    with pytest.raises(PermanentFailure) as caught:
        await made(one, {"8BITMIME": ""}, "bounce")
    assert caught.value.reply.enhanced == "5.6.1"


async def test_a_message_that_is_marked_smtputf8_and_is_ascii_goes_to_any_peer() -> None:
    found = await made(job(TEXT + b"hi\r\n", smtputf8=True), {"8BITMIME": ""})
    assert not found.smtputf8
    found = await made(job(TEXT + b"\xc3\xa4\r\n", smtputf8=True), {"8BITMIME": ""})
    assert (found.smtputf8, found.body) == (False, "8BITMIME")
    assert (await made(job(TEXT + b"hi\r\n", smtputf8=True), MODERN)).smtputf8


@pytest.mark.parametrize(
    ("content", "sender"),
    [("Subject: \u00e4\r\n\r\nhi\r\n", "a@here.test"), ("Subject: x\r\n\r\nhi\r\n", "\u00e4@here.test")],
)
async def test_what_needs_smtputf8_does_not_go_to_a_peer_without(content: str, sender: str) -> None:
    with pytest.raises(PermanentFailure) as caught:
        await made(job(content.encode(), sender=sender, smtputf8=True), {"8BITMIME": ""})
    assert caught.value.reply.enhanced == "5.6.7"


async def test_an_international_domain_has_a_form_for_old_peers() -> None:
    """RFC 5891: the A-label names the same domain; the local part has no such form."""
    one = job(b"A: b\r\n\r\n", Recipient(0, "b@b\u00fccher.test"), Recipient(1, "\u00fc@x.test"), smtputf8=True)
    found = await made(one, {})
    assert list(found.recipients) == ["b@xn--bcher-kva.test", "\u00fc@x.test"]
    assert not found.smtputf8
    found = await made(one, MODERN)
    assert found.recipients[0] == "b@b\u00fccher.test"
    assert found.smtputf8


async def test_dsn_parameters_are_passed_on_and_a_rewritten_address_is_named() -> None:
    rows = [
        Recipient(0, "b@x.test", notify="SUCCESS,DELAY", orcpt="rfc822;old@x.test"),
        Recipient(1, "c@x.test", original="al+ias@here.test"),
        Recipient(2, "d@x.test"),
    ]
    one = job(b"A: b\r\n\r\n", *rows, ret="HDRS", envid="QQ+2B1")
    found = await made(one, MODERN)
    assert found.dsn_mail == "RET=HDRS ENVID=QQ+2B1"
    assert list(found.dsn_rcpt) == [
        "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@x.test",
        "ORCPT=rfc822;al+2Bias@here.test",
        "",
    ]
    found = await made(one, {})
    assert (found.dsn_mail, found.dsn_rcpt) == ("", ())
    assert (await made(job(b"A: b\r\n\r\n"), MODERN)).dsn_rcpt == ()
