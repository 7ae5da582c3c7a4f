"""Bounces: what a sender gets, read with the standard library and carried by aiosmtpd."""

import asyncio
import email
import email.policy
from email.message import EmailMessage

import msgspec
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from hypothesis import given
from hypothesis import strategies as st

from core.record import Accepted, Recipient
from core.smtp.client import connect
from core.smtp.client_settings import ConnectionSettings
from core.smtp.target import Target
from mail.bounce.notice import Fate, Frame, Original, head_size, make_notice
from mail.bounce.profile import BounceProfile
from mail.bounce.rule import Event
from mail.bounce.text import read_text
from protocol.reply import Reply
from protocol.smtp.client_settings import ClientSettings
from protocol.smtp.transaction import Transaction

MAX_COPY = 10_240
NOW = 1_700_000_000.0
ORIGINAL = b"From: a@x.test\r\nSubject: Hello\r\n\r\nBody\r\n"


def accepted(content: bytes = ORIGINAL, sender: str = "a@x.test", subject: str = "Hello") -> Accepted:
    recipients = [Recipient(0, "b@y.test"), Recipient(1, "list-7@y.test", "c@y.test")]
    return Accepted(77, 5, NOW - 60, sender, recipients, len(content), subject=subject)


NOBODY = Reply(550, "5.1.1", "no such user")


def failures(reply: Reply = NOBODY) -> list[Fate]:
    first, second = accepted().recipients
    return [
        Fate(first, reply, "mx.y.test", NOW),
        Fate(second, Reply(550, "5.1.2", "Bad destination host: DNS Hard Error looking up y.test (MX):  NXDomain")),
    ]


def notice(
    content: bytes = ORIGINAL,
    event: Event = "failed",
    *,
    about: Accepted | None = None,
    fates: list[Fate] | None = None,
    to: str = "a@x.test",
    text: str = "",
    **profile: object,
) -> tuple[Accepted, bytes, EmailMessage]:
    record = about or accepted(content)
    made_with = BounceProfile(**profile)  # type: ignore[arg-type]
    size = head_size(record, event, made_with)
    original = Original(record, content[:size], len(content) <= size)
    words = read_text(text, "Told") if text else None
    made, report = make_notice(original, event, fates or failures(), Frame("gw.test", NOW, 78, to, made_with, words))
    message = email.message_from_bytes(report, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return made, report, message


def part(message: EmailMessage, number: int) -> EmailMessage:
    found = list(message.iter_parts())[number]
    assert isinstance(found, EmailMessage)
    return found


def groups(message: EmailMessage) -> list[EmailMessage]:
    found = part(message, 1).get_payload()
    assert isinstance(found, list)
    return found


def changed(**facts: object) -> Accepted:
    return msgspec.structs.replace(accepted(), **facts)


def test_the_record_is_that_of_a_system_message() -> None:
    record, content, _ = notice()
    assert (record.mid, record.icid, record.bounce_of, record.sender) == (78, 0, 77, "")
    assert record.recipients == [Recipient(0, "a@x.test", notify="NEVER")]
    assert record.size == len(content)
    assert record.body == "7BIT"


def test_the_report_has_its_three_parts_and_no_faults() -> None:
    _, _, message = notice()
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [one.get_content_type() for one in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    assert [one.defects for one in message.walk()] == [[]] * len(list(message.walk()))
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@gw.test"
    assert message["To"] == "a@x.test"
    assert message["Message-ID"]
    assert message["Date"].datetime.timestamp() == NOW


def test_the_text_says_why_and_what_to_do() -> None:
    _, _, message = notice()
    text = next(message.iter_parts()).get_content()
    assert 'Your message with the subject "Hello"' in text
    assert "b@y.test" in text
    assert "There is no such mailbox" in text
    assert "mx.y.test answered: 550 5.1.1 no such user" in text
    assert "Check the address for mistakes" in text
    assert "The reason given is: 550 5.1.2 Bad destination host" in text
    assert "c@y.test" in text
    assert "list-7@y.test" not in text


def test_what_we_refuse_ourselves_is_not_blamed_on_the_receiving_host() -> None:
    ours = Reply(554, "5.7.1", "The recipient takes no mail from this system (global unsubscribe)")
    text = str(part(notice(fates=[Fate(accepted().recipients[0], ours)])[2], 0).get_payload())
    assert "This system does not deliver the message" in text
    assert "receiving host" not in text
    text = str(part(notice(fates=[Fate(accepted().recipients[0], ours, "mx.y.test")])[2], 0).get_payload())
    assert "The receiving host refused the message" in text


def test_the_status_part_gives_the_peers_reply_and_none_where_there_was_none() -> None:
    _, _, message = notice()
    about, first, second = groups(message)
    assert about["Reporting-MTA"] == "dns; gw.test"
    assert (first["Final-Recipient"], first["Action"], first["Status"]) == ("rfc822; b@y.test", "failed", "5.1.1")
    assert first["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert second["Original-Recipient"] == "rfc822; c@y.test"
    assert second["Diagnostic-Code"] is None


def test_a_temporary_reply_that_expired_is_reported_as_permanent() -> None:
    _, report, _ = notice(fates=failures(Reply(451, "4.2.2", "full"))[:1])
    assert b"\r\nStatus: 5.2.2\r\n" in report
    assert b"Diagnostic-Code: smtp; 451 4.2.2 full" in report


def test_a_small_message_is_returned_whole_and_a_large_one_by_its_header() -> None:
    small = b"Subject: s\r\n\r\n" + b"x" * (MAX_COPY - 15)
    assert part(notice(small)[2], 2).get_content_type() == "message/rfc822"
    large = small + b"\r\n."
    returned = part(notice(large)[2], 2)
    assert returned.get_content_type() == "text/rfc822-headers"
    assert returned.get_content().strip() == "Subject: s"


@pytest.mark.parametrize(
    ("facts", "size", "kind"),
    [
        ({"ret": "HDRS"}, 100, "text/rfc822-headers"),
        ({"ret": "FULL"}, 50_000, "message/rfc822"),
        ({"ret": "FULL"}, 2_000_000, "text/rfc822-headers"),
        ({"body": "BINARYMIME"}, 100, "text/rfc822-headers"),
        ({"require_tls": "yes"}, 100, "text/rfc822-headers"),
    ],
)
def test_what_is_returned_is_what_the_sender_asked_for(facts: dict[str, str], size: int, kind: str) -> None:
    content = b"Subject: s\r\n\r\n" + b"x" * size
    record, _, message = notice(content, about=changed(**facts))
    assert part(message, 2).get_content_type() == kind
    assert record.require_tls == facts.get("require_tls", "")


@pytest.mark.parametrize("event", ["delayed", "relayed"])
def test_a_report_of_no_failure_returns_the_header_even_where_all_was_asked_for(event: Event) -> None:
    _, _, message = notice(event=event, about=changed(ret="FULL"))
    assert part(message, 2).get_content_type() == "text/rfc822-headers"


def test_a_delay_warning_says_until_when_it_is_tried() -> None:
    fate = Fate(accepted().recipients[0], Reply(451, "4.3.2", "later"), "mx.y.test", NOW, NOW + 86_400)
    _, _, message = notice(event="delayed", fates=[fate])
    fields = groups(message)[1]
    assert (fields["Action"], fields["Status"]) == ("delayed", "4.3.2")
    assert fields["Will-Retry-Until"] == "Wed, 15 Nov 2023 22:13:20 +0000"
    assert "delivery is tried until Wed, 15 Nov 2023 22:13:20 +0000" in part(message, 0).get_content()
    assert message["Subject"].startswith("Delayed mail")


def test_a_success_report_says_relayed() -> None:
    _, _, message = notice(
        event="relayed", fates=[Fate(accepted().recipients[0], Reply(250, "2.0.0", "ok"), "mx", NOW)]
    )
    assert (groups(message)[1]["Action"], groups(message)[1]["Status"]) == ("relayed", "2.0.0")
    assert "was passed on" in part(message, 0).get_content()


def test_what_the_client_said_of_the_envelope_comes_back() -> None:
    recipient = Recipient(0, "b@y.test", "c@y.test", orcpt="rfc822;c+2B1@y.test")
    about = changed(envid="QQ+3D314", helo="client.test", remote_ip="192.0.2.7")
    _, _, message = notice(about=about, fates=[Fate(recipient, NOBODY)])
    fields, first = groups(message)
    assert fields["Original-Envelope-Id"] == "QQ=314"
    assert fields["Received-From-MTA"] == "dns; client.test ([192.0.2.7])"
    assert fields["Arrival-Date"] == "Tue, 14 Nov 2023 22:12:20 +0000"
    assert first["Original-Recipient"] == "rfc822; c+1@y.test"


def test_a_report_about_smtputf8_mail_has_the_international_forms() -> None:
    content = "Subject: grüße\r\n\r\n".encode()
    recipient = Recipient(0, "jürgen@y.test", orcpt="utf-8;j\\x{FC}rgen@y.test")
    about = msgspec.structs.replace(accepted(content, "ä@x.test", "grüße"), smtputf8=True, recipients=[recipient])
    record, _, message = notice(content, about=about, fates=[Fate(recipient, NOBODY)], to="ä@x.test")
    assert record.smtputf8
    assert [one.get_content_type() for one in message.iter_parts()] == [
        "text/plain",
        "message/global-delivery-status",
        "message/global",
    ]
    assert "grüße" in part(message, 0).get_content()
    status = part(message, 1).as_bytes().decode()
    assert "Original-Recipient: utf-8; jürgen@y.test" in status
    assert "Final-Recipient: utf-8; jürgen@y.test" in status


def test_an_ascii_sender_is_told_of_an_international_address_in_ascii() -> None:
    recipient = Recipient(0, "jürgen@y.test")
    record, report, message = notice(fates=[Fate(recipient, NOBODY)])
    assert report.isascii()
    assert not record.smtputf8
    assert groups(message)[1]["Final-Recipient"] == "utf-8; j\\x{FC}rgen@y.test"


def test_a_profile_may_leave_the_peers_code_out() -> None:
    _, _, message = notice(parse_status=False)
    assert [one["Status"] for one in groups(message)[1:]] == ["5.0.0", "5.1.2"]


def test_the_plain_form_is_one_text() -> None:
    _, _, message = notice(hard_bounce="plain")
    assert message.get_content_type() == "text/plain"
    assert "no such user" in message.get_content()
    assert "Subject: Hello" in message.get_content()
    assert message["Auto-Submitted"] == "auto-replied"


def test_a_text_of_ones_own_is_filled_in() -> None:
    _, _, message = notice(text="An $EnvelopeFrom:\n$Recipients\n$$5, MID $mid, $BodySize octets")
    assert message["Subject"] == "Told"
    assert part(message, 0).get_content().splitlines() == [
        "An a@x.test:",
        "b@y.test",
        "c@y.test",
        "$5, MID 77, 40 octets",
    ]


def test_the_report_answers_the_message() -> None:
    _, _, message = notice(b"Message-ID: <1@x.test>\r\n\r\n")
    assert (message["In-Reply-To"], message["References"]) == ("<1@x.test>", "<1@x.test>")


def test_a_large_header_is_cut_at_a_line() -> None:
    header = b"".join(b"X-%04d: %b\r\n" % (number, b"y" * 90) for number in range(200))
    part = list(notice(header + b"\r\nbody")[2].iter_parts())[2]
    returned = part.get_content()
    assert len(returned) <= MAX_COPY
    assert returned.rstrip("\r\n").endswith("y" * 90)
    assert b"text/rfc822-headers" in notice(b"X: " + b"y" * 20_000 + b"\r\n\r\n")[1]


def test_eight_bit_content_is_declared() -> None:
    record, _, message = notice(b"Subject: h\xc3\xa9\r\n\r\n\xe9\r\n")
    assert record.body == "8BITMIME"
    assert message["Content-Transfer-Encoding"] == "8bit"
    assert list(message.iter_parts())[2]["Content-Transfer-Encoding"] == "8bit"


@given(st.text(max_size=200), st.text(max_size=200))
def test_nothing_that_a_peer_or_sender_wrote_becomes_a_header_or_a_part(said: str, subject: str) -> None:
    _, report, message = notice(
        about=accepted(subject=subject),
        fates=failures(Reply(550, "5.7.1", (said, f"\r\n\r\n--{said}\r\nX-Evil: 1"))),
    )
    assert [one.get_content_type() for one in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    assert b"\r\nX-Evil" not in report
    rest = report.replace(b"\r\n", b"")
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
    record, content, _ = notice(b"Subject: h\xc3\xa9\r\n\r\n.\xe9\r\n")
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
