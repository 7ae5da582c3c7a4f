"""Bounces: what a sender gets, read with the standard library and carried by aiosmtpd."""

import asyncio
import email
import email.policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import given
from hypothesis import strategies as st

from core.record import Accepted, Recipient
from core.smtp.client import connect
from core.smtp.client_settings import ConnectionSettings
from core.smtp.target import Target
from mail.bounce import MAX_COPY, Failure, make_bounce
from protocol.reply import Reply
from protocol.smtp.client_settings import ClientSettings
from protocol.smtp.transaction import Transaction

NOW = 1_700_000_000.0
ORIGINAL = b"From: a@x.test\r\nSubject: Hello\r\n\r\nBody\r\n"


def accepted(content: bytes = ORIGINAL, sender: str = "a@x.test", subject: str = "Hello") -> Accepted:
    recipients = [Recipient(0, "b@y.test"), Recipient(1, "list-7@y.test", "c@y.test")]
    return Accepted(77, 5, NOW - 60, sender, recipients, len(content), subject=subject)


NOBODY = Reply(550, "5.1.1", "no such user")


def failures(reply: Reply = NOBODY) -> list[Failure]:
    first, second = accepted().recipients
    return [
        Failure(first, reply, "mx.y.test", NOW),
        Failure(second, Reply(550, "5.1.2", "Bad destination host: DNS Hard Error looking up y.test (MX):  NXDomain")),
    ]


def bounce(content: bytes = ORIGINAL, **more: object) -> tuple[Accepted, bytes, EmailMessage]:
    made = make_bounce(
        accepted(content),
        failures(),
        hostname="gw.test",
        now=NOW,
        mid=78,
        content=content,
        **more,  # type: ignore[arg-type]
    )
    assert made is not None
    message = email.message_from_bytes(made[1], policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return *made, message


def test_the_record_is_that_of_a_system_message() -> None:
    record, content, _ = bounce()
    assert (record.mid, record.icid, record.bounce_of, record.sender) == (78, 0, 77, "")
    assert record.recipients == [Recipient(0, "a@x.test")]
    assert record.size == len(content)
    assert record.body == "7BIT"


def test_the_report_has_its_three_parts_and_no_faults() -> None:
    _, _, message = bounce()
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    assert [part.defects for part in message.walk()] == [[]] * len(list(message.walk()))
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@gw.test"
    assert message["To"] == "a@x.test"
    assert message["Message-ID"]
    assert message["Date"].datetime.timestamp() == NOW


def test_the_text_says_why_and_what_to_do() -> None:
    _, _, message = bounce()
    text = next(message.iter_parts()).get_content()
    assert 'Your message with the subject "Hello"' in text
    assert "b@y.test" in text
    assert "There is no such mailbox" in text
    assert "mx.y.test answered: 550 5.1.1 no such user" in text
    assert "Check the address for mistakes" in text
    assert "The reason given is: 550 5.1.2 Bad destination host" in text
    assert "c@y.test" in text
    assert "list-7@y.test" not in text


def test_the_status_part_gives_the_peers_reply_and_none_where_there_was_none() -> None:
    _, _, message = bounce()
    groups = list(message.iter_parts())[1].get_payload()
    assert isinstance(groups, list)
    about, first, second = groups
    assert about["Reporting-MTA"] == "dns; gw.test"
    assert (first["Final-Recipient"], first["Action"], first["Status"]) == ("rfc822; b@y.test", "failed", "5.1.1")
    assert first["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert second["Original-Recipient"] == "rfc822; c@y.test"
    assert second["Diagnostic-Code"] is None


def test_a_temporary_reply_that_expired_is_reported_as_permanent() -> None:
    made = make_bounce(
        accepted(), failures(Reply(451, "4.2.2", "full"))[:1], hostname="gw.test", now=NOW, mid=1, content=ORIGINAL
    )
    assert made is not None
    assert b"\r\nStatus: 5.2.2\r\n" in made[1]
    assert b"Diagnostic-Code: smtp; 451 4.2.2 full" in made[1]


def test_the_null_sender_gets_no_bounce() -> None:
    null = accepted(sender="")
    assert make_bounce(null, failures(), hostname="gw.test", now=NOW, mid=1, content=ORIGINAL) is None


def test_a_small_message_is_returned_whole_and_a_large_one_by_its_header() -> None:
    small = b"Subject: s\r\n\r\n" + b"x" * (MAX_COPY - 15)
    assert list(bounce(small)[2].iter_parts())[2].get_content_type() == "message/rfc822"
    large = small + b"\r\n."
    part = list(bounce(large)[2].iter_parts())[2]
    assert part.get_content_type() == "text/rfc822-headers"
    assert part.get_content().strip() == "Subject: s"


def test_only_the_first_octets_of_a_large_message_need_to_be_given() -> None:
    start = b"Subject: s\r\n\r\n" + b"x" * 100
    record = accepted(start)
    record = Accepted(77, 5, NOW, record.sender, record.recipients, 5_000_000)
    made = make_bounce(record, failures(), hostname="gw.test", now=NOW, mid=1, content=start)
    assert made is not None
    assert b"text/rfc822-headers" in made[1]


def test_a_large_header_is_cut_at_a_line() -> None:
    header = b"".join(b"X-%04d: %b\r\n" % (number, b"y" * 90) for number in range(200))
    part = list(bounce(header + b"\r\nbody")[2].iter_parts())[2]
    returned = part.get_content()
    assert len(returned) <= MAX_COPY
    assert returned.rstrip("\r\n").endswith("y" * 90)
    assert b"text/rfc822-headers" in bounce(b"X: " + b"y" * 20_000 + b"\r\n\r\n")[1]


def test_eight_bit_content_is_declared() -> None:
    record, _, message = bounce(b"Subject: h\xc3\xa9\r\n\r\n\xe9\r\n")
    assert record.body == "8BITMIME"
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert list(message.iter_parts())[2]["Content-Transfer-Encoding"] == "8bit"


@given(st.text(max_size=200), st.text(max_size=200))
def test_nothing_that_a_peer_or_sender_wrote_becomes_a_header_or_a_part(said: str, subject: str) -> None:
    made = make_bounce(
        accepted(subject=subject),
        failures(Reply(550, "5.7.1", (said, f"\r\n\r\n--{said}\r\nX-Evil: 1"))),
        hostname="gw.test",
        now=NOW,
        mid=78,
        content=ORIGINAL,
    )
    assert made is not None
    message = email.message_from_bytes(made[1], policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    assert b"\r\nX-Evil" not in made[1]
    rest = made[1].replace(b"\r\n", b"")
    assert b"\n" not in rest
    assert b"\r" not in rest


async def test_aiosmtpd_takes_it() -> None:
    taken: list[bytes] = []

    class Box:
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            assert envelope.mail_from == "<>"
            assert isinstance(envelope.content, bytes)
            taken.append(envelope.content)
            return "250 Ok"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Box(), loop=loop, hostname="mx.test"), "127.0.0.1", 0)
    record, content, _ = bounce(b"Subject: h\xc3\xa9\r\n\r\n.\xe9\r\n")
    port = server.sockets[0].getsockname()[1]
    connection = await connect(Target("mx.test", "127.0.0.1", port), ConnectionSettings(ClientSettings("gw.test")))
    result = await connection.send(
        Transaction(record.sender, [one.address for one in record.recipients], [content], record.size, record.body)
    )
    connection.close()
    await connection.wait_closed()
    server.close()
    assert result.delivered == [0]
    assert taken == [content]
