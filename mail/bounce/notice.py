"""Bounces: the report to a sender that a message could not be delivered (RFC 3464, 3834, 5321 4.5.5).

The queue calls `make_bounce` when recipients have failed for good and journals what it gives. There is never a bounce
for the null sender: it gives None, and the caller logs a double bounce. The message is returned whole if it is small,
else its headers only. This module does no I/O and raises nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from core.record import Accepted, Recipient
from protocol.dsn import RecipientStatus, clean, date, delivery_status, message_fields
from protocol.reply import Reply

MAX_COPY = 10_240
"""Octets of the returned message: below that it is returned whole."""

_EXPLANATIONS = {
    "5.1.0": "The receiving host does not know this address.",
    "5.1.1": "There is no such mailbox at the receiving host.",
    "5.1.2": "The domain of this address does not exist or takes no mail.",
    "5.1.10": "The domain of this address says that it takes no mail.",
    "5.2.2": "The mailbox is full.",
    "5.3.4": "The message is larger than the receiving host takes.",
    "5.4.6": "The message was going round in circles.",
    "5.4.7": "The message could not be delivered within the time allowed; it was tried many times.",
    "5.6.7": "The receiving host cannot take addresses with international characters.",
    "5.7.1": "The receiving host refused the message by its own rules.",
}
_ADVICE = {
    "1": "Check the address for mistakes and send the message again.",
    "2": "Try again later, or reach the recipient in another way.",
    "3": "Send a smaller message, or ask the recipient's postmaster.",
    "4": "Try again later, or ask the recipient's postmaster.",
    "6": "Send the message in a plainer form, or ask the recipient's postmaster.",
    "7": "Ask the recipient to allow your mail, or ask the recipient's postmaster.",
}
_DEFAULT_ADVICE = "Ask the recipient's postmaster, who can see why."


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one recipient failed for good."""

    recipient: Recipient
    reply: Reply
    """The reply that decided: the peer's, or one made here."""
    remote_host: str = ""
    """Who gave the reply; '' = it was made here."""
    last_attempt_at: float = 0.0

    @property
    def status(self) -> str:
        """The enhanced code, of the permanent class whatever the last reply said: this is final."""
        enhanced = self.reply.enhanced or "5.0.0"
        return f"5{enhanced[1:]}"


def make_bounce(
    accepted: Accepted,
    failures: Sequence[Failure],
    *,
    hostname: str,
    now: float,
    mid: int,
    content: bytes,
    max_copy: int = MAX_COPY,
) -> tuple[Accepted, bytes] | None:
    """Make the report about `failures` of `accepted`.

    `content` is the original as delivered, at least its first `max_copy` octets; `accepted.size` says how long it is.
    Gives the record and the content of the new message, without trace; None for the null sender.
    """
    if not accepted.sender:
        return None
    boundary = _boundary(mid, now, content)
    returned, kind = _returned(accepted, content, max_copy)
    parts = [
        (f"text/plain; charset=us-ascii\r\n{_DESCRIPTION} Notification", _text(accepted, failures, hostname, kind)),
        (f"message/delivery-status\r\n{_DESCRIPTION} Delivery report", _status(accepted, failures, hostname)),
        (f"{kind}\r\n{_encoding(returned)}{_DESCRIPTION} Undelivered message", returned),
    ]
    body = b"".join(
        b"--%b\r\nContent-Type: %b\r\n\r\n%b\r\n" % (boundary, kind_of.encode("ascii"), data) for kind_of, data in parts
    )
    head = _headers(accepted, hostname=hostname, now=now, mid=mid, boundary=boundary, returned=returned)
    report = head + body + b"--%b--\r\n" % boundary
    record = Accepted(
        mid=mid,
        icid=0,
        received_at=now,
        sender="",
        recipients=[Recipient(0, accepted.sender)],
        size=len(report),
        protocol="",
        body="7BIT" if returned.isascii() else "8BITMIME",
        smtputf8=not accepted.sender.isascii(),
        subject=_SUBJECT,
        bounce_of=accepted.mid,
    )
    return record, report


_DESCRIPTION = "Content-Description:"
_SUBJECT = "Undelivered mail: delivery failed"


def _boundary(mid: int, now: float, content: bytes) -> bytes:
    """Give a boundary that the parts do not hold."""
    number = 0
    while True:
        seed = f"{mid}/{now}/{number}".encode("ascii")
        boundary = b"=_report_" + hashlib.sha256(seed).hexdigest()[:32].encode("ascii")
        if boundary not in content:
            return boundary
        number += 1


def _headers(accepted: Accepted, *, hostname: str, now: float, mid: int, boundary: bytes, returned: bytes) -> bytes:
    host = clean(hostname)
    to = accepted.sender.replace("\r", "").replace("\n", "")
    lines = [
        f"Date: {date(now)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{host}>",
        f"To: <{to}>",
        f"Subject: {_SUBJECT}",
        f"Message-ID: <{mid}.{int(now)}.bounce@{host}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary.decode("ascii")}"',
    ]
    encoding = _encoding(returned).encode("ascii")
    return "\r\n".join(lines).encode("utf-8") + b"\r\n" + encoding + b"\r\n"


def _encoding(data: bytes) -> str:
    return "" if data.isascii() else "Content-Transfer-Encoding: 8bit\r\n"


def _text(accepted: Accepted, failures: Sequence[Failure], hostname: str, kind: str) -> bytes:
    subject = f' with the subject "{clean(accepted.subject, 120)}"' if accepted.subject.strip() else ""
    lines = [
        f"This is the mail system at {clean(hostname)}.",
        "",
        f"Your message{subject},",
        f"received on {date(accepted.received_at)}, could not be delivered to:",
        "",
    ]
    for failure in failures:
        lines += _explain(failure)
    whole = kind == "message/rfc822"
    lines += [
        f"No further attempts will be made. {'Your message' if whole else 'The header of your message'} is attached.",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def _explain(failure: Failure) -> list[str]:
    status = failure.status
    said = clean(" ".join(str(failure.reply).split()), 700)
    who = f"{clean(failure.remote_host)} answered" if failure.remote_host else "The reason given is"
    return [
        f"  {clean(failure.recipient.original or failure.recipient.address)}",
        f"    {_EXPLANATIONS.get(status, 'The message was refused for good.')}",
        f"    {who}: {said}",
        f"    What you can do: {_ADVICE.get(status.split('.')[1], _DEFAULT_ADVICE)}",
        "",
    ]


def _status(accepted: Accepted, failures: Sequence[Failure], hostname: str) -> bytes:
    recipients = [
        RecipientStatus(
            address=failure.recipient.address,
            action="failed",
            status=failure.status,
            diagnostic=" ".join(str(failure.reply).split()) if failure.remote_host else "",
            remote_host=failure.remote_host,
            original=failure.recipient.original,
            last_attempt_at=failure.last_attempt_at,
        )
        for failure in failures
    ]
    return delivery_status(message_fields(hostname, accepted.received_at), recipients)


def _returned(accepted: Accepted, content: bytes, max_copy: int) -> tuple[bytes, str]:
    """Give what is returned of the message and its type: all of it, or as much of its header as is allowed."""
    if max(accepted.size, len(content)) < max_copy:
        return content, "message/rfc822"
    end = content.find(b"\r\n\r\n")
    header = content[: end + 2] if end >= 0 else content
    if len(header) > max_copy:
        cut = header.rfind(b"\r\n", 0, max_copy)
        header = header[: cut + 2] if cut >= 0 else b""
    return header, "text/rfc822-headers"
