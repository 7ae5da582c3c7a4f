"""A report as a message: what failed, waits, or was passed on (RFC 3461, 3464, 3834, 5321 4.5.5, 6533).

The queue's reports call `make_notice` and journal what it gives. A report has the null sender and says that a
program made it. What is returned of the original: the whole message if it failed and is small enough, else its header.
This module does no I/O, knows no clock and raises nothing.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from core.record import Accepted, Recipient
from mail.bounce.profile import BounceProfile
from mail.bounce.rule import Event
from mail.bounce.text import BUILT_IN, Kind, Text
from mail.mime import Headers
from protocol.dsn import RecipientStatus, clean, date, delivery_status, message_fields
from protocol.reply import Reply

KINDS: Final[dict[Event, Kind]] = {"failed": "bounce", "delayed": "delay", "relayed": "success"}
_CLASS: Final = {"failed": "5", "delayed": "4", "relayed": "2"}

_EXPLANATIONS = {
    "5.1.0": "The receiving host does not know this address.",
    "5.1.1": "There is no such mailbox at the receiving host.",
    "5.1.2": "The domain of this address does not exist or takes no mail.",
    "5.1.10": "The domain of this address says that it takes no mail.",
    "5.2.2": "The mailbox is full.",
    "5.3.4": "The message is larger than the receiving host takes.",
    "5.4.6": "The message was going round in circles.",
    "5.4.7": "The message could not be delivered within the time allowed; it was tried many times.",
    "5.6.1": "The receiving host cannot take this form of message.",
    "5.6.3": "The receiving host cannot take this form of message.",
    "5.6.7": "The receiving host cannot take addresses with international characters.",
    "5.7.1": "The receiving host refused the message by its own rules.",
    "5.7.30": "The next host does not promise the encryption that the message asks for.",
}
_OWN_RULES = "This system does not deliver the message, by its own rules."
_OWN_ADVICE = "Ask the postmaster of this system, who can see why."
"""For a refusal by policy that no peer gave: a filter's, an administrator's, the unsubscribe list's."""
_GENERAL = {
    "failed": "The message was refused for good.",
    "delayed": "Delivery is still being tried.",
    "relayed": "The next host has taken the message.",
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
class Fate:
    """What became of one recipient."""

    recipient: Recipient
    reply: Reply
    """The reply that decided, or the last one: the peer's, or one made here."""
    remote_host: str = ""
    """Who gave the reply; '' = it was made here."""
    last_attempt_at: float = 0.0
    retry_until_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Original:
    """The message that a report is about."""

    accepted: Accepted
    head: bytes
    """As delivered: all of it, or at least `head_size` octets from the start."""
    complete: bool
    """Whether `head` is all of it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a report is made with."""

    hostname: str
    now: float
    mid: int
    """Of the report."""
    to: str
    """Who gets it."""
    profile: BounceProfile = field(default_factory=BounceProfile)
    text: Text | None = None
    """What people read; None = the built-in text."""


def head_size(accepted: Accepted, event: Event, profile: BounceProfile) -> int:
    """Give how many octets of a message a report needs at most: what may be returned of it (RFC 3461 4.3)."""
    whole = _whole_below(accepted, event, profile)
    return max(whole, profile.max_bounce_copy)


def _whole_below(accepted: Accepted, event: Event, profile: BounceProfile) -> int:
    """Give the size below which a message is returned whole; 0 = never."""
    if event != "failed" or accepted.ret == "HDRS" or accepted.body == "BINARYMIME" or accepted.require_tls == "yes":
        return 0
    return max(profile.max_full_copy, profile.max_bounce_copy) if accepted.ret == "FULL" else profile.max_bounce_copy


class _Shown(NamedTuple):
    """What a report consists of besides its fields."""

    words: bytes
    returned: bytes
    whole: bool
    """Whether `returned` is all of the message."""


def make_notice(original: Original, event: Event, fates: Sequence[Fate], frame: Frame) -> tuple[Accepted, bytes]:
    """Make the report of one event about some recipients of a message: its record and its content, without trace."""
    accepted, profile = original.accepted, frame.profile
    returned, whole = _returned(original, event, profile)
    shown = _Shown(_words(original, event, fates, frame, whole), returned, whole)
    body = _plain(shown) if profile.hard_bounce == "plain" else _report(original, event, fates, frame, shown)
    content = _headers(original, event, frame) + body
    record = Accepted(
        mid=frame.mid,
        icid=0,
        received_at=frame.now,
        sender="",
        recipients=[Recipient(0, frame.to, notify="NEVER")],
        size=len(content),
        protocol="",
        body="7BIT" if content.isascii() else "8BITMIME",
        smtputf8=not frame.to.isascii(),
        subject=_text_of(event, frame).subject,
        bounce_of=accepted.mid,
        require_tls="yes" if accepted.require_tls == "yes" else "",
    )
    return record, content


# The whole


def _headers(original: Original, event: Event, frame: Frame) -> bytes:
    host = clean(frame.hostname)
    to = frame.to.replace("\r", "").replace("\n", "")
    lines = [
        f"Date: {date(frame.now)}",
        f"From: Mail Delivery System <MAILER-DAEMON@{host}>",
        f"To: <{to}>",
        f"Subject: {_subject(_text_of(event, frame).subject)}",
        f"Message-ID: <{frame.mid}.{int(frame.now)}.bounce@{host}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
    ]
    answered = _message_id(original.head)
    if answered:
        lines += [f"In-Reply-To: {answered}", f"References: {answered}"]
    return "\r\n".join(lines).encode("utf-8") + b"\r\n"


def _subject(text: str) -> str:
    if text.isascii():
        return text
    from email.header import Header  # only for texts that are not ASCII

    return Header(text, "utf-8", maxlinelen=70).encode(linesep="\r\n")


def _message_id(head: bytes) -> str:
    value = Headers(head).first(b"message-id").strip()
    fits = value.startswith(b"<") and value.endswith(b">") and len(value) < 500 and value.isascii()
    return clean(value.decode("ascii")) if fits and b" " not in value else ""


def _report(
    original: Original,
    event: Event,
    fates: Sequence[Fate],
    frame: Frame,
    shown: _Shown,
) -> bytes:
    """Give a multipart/report with its own header fields (RFC 3462, RFC 3464)."""
    accepted = original.accepted
    utf8 = accepted.smtputf8 or not frame.to.isascii()
    wide = "global" if utf8 else ""
    kinds = {
        ("", True): "message/rfc822",
        ("", False): "text/rfc822-headers",
        ("global", True): "message/global",
        ("global", False): "message/global-headers",
    }
    status = delivery_status(
        message_fields(
            frame.hostname,
            accepted.received_at,
            accepted.envid,
            received_from=accepted.helo,
            received_ip=accepted.remote_ip,
            utf8=utf8,
        ),
        [_status(fate, event, frame.profile) for fate in fates],
        utf8=utf8,
    )
    parts = [
        (f"text/plain; charset={_charset(shown.words)}", "Notification", shown.words),
        (f"message/{'global-' if utf8 else ''}delivery-status", "Delivery report", status),
        (kinds[wide, shown.whole], "Message" if shown.whole else "Header of the message", shown.returned),
    ]
    boundary = _boundary(frame, b"".join(data for _, _, data in parts))
    opening = (
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"\r\n'
        f"{_encoding(b''.join(data for _, _, data in parts))}\r\n"
    ).encode("ascii")
    body = b"".join(
        f"--{boundary}\r\nContent-Type: {kind}\r\n{_encoding(data)}Content-Description: {what}\r\n\r\n".encode("ascii")
        + data
        + b"\r\n"
        for kind, what, data in parts
    )
    return opening + body + f"--{boundary}--\r\n".encode("ascii")


def _plain(shown: _Shown) -> bytes:
    """Give a text/plain body with its own header fields: the words, then what is returned."""
    title = b"The message" if shown.whole else b"The header of the message"
    text = shown.words + b"\r\n----- " + title + b" -----\r\n\r\n" + shown.returned
    charset = _charset(text)
    return f"Content-Type: text/plain; charset={charset}\r\n{_encoding(text)}\r\n".encode("ascii") + text


def _charset(data: bytes) -> str:
    if data.isascii():
        return "us-ascii"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "unknown-8bit"
    return "utf-8"


def _boundary(frame: Frame, data: bytes) -> str:
    """Give a boundary that the parts do not hold."""
    number = 0
    while True:
        seed = f"{frame.mid}/{frame.now}/{number}".encode("ascii")
        boundary = f"=_report_{hashlib.sha256(seed).hexdigest()[:32]}"
        if boundary.encode("ascii") not in data:
            return boundary
        number += 1


def _encoding(data: bytes) -> str:
    return "" if data.isascii() else "Content-Transfer-Encoding: 8bit\r\n"


def _returned(original: Original, event: Event, profile: BounceProfile) -> tuple[bytes, bool]:
    """Give what is returned of the message, and whether that is all of it."""
    content = original.head
    if original.complete and len(content) < _whole_below(original.accepted, event, profile):
        return content, True
    end = content.find(b"\r\n\r\n")
    header = content[: end + 2] if end >= 0 else content
    most = profile.max_bounce_copy
    if len(header) > most or (end < 0 and not original.complete):
        cut = header.rfind(b"\r\n", 0, most)
        header = header[: cut + 2] if cut >= 0 else b""
    return header.replace(b"\0", b"?"), False


# The words


def _text_of(event: Event, frame: Frame) -> Text:
    return frame.text or BUILT_IN[KINDS[event]]


def _words(original: Original, event: Event, fates: Sequence[Fate], frame: Frame, whole: bool) -> bytes:
    """Give what people read, as text that ends in CRLF."""
    accepted = original.accepted
    utf8 = accepted.smtputf8
    subject = clean(accepted.subject, 120, utf8=utf8)
    until = max((fate.retry_until_at for fate in fates), default=0.0)
    now = time.gmtime(frame.now)
    addresses = [_shown(fate.recipient, utf8) for fate in fates]
    text = _text_of(event, frame).fill(
        {
            "about": f' with the subject "{subject}"' if subject.strip() else "",
            "bodysize": str(accepted.size),
            "copy": "Your message" if whole else "The header of your message",
            "date": time.strftime("%Y-%m-%d", now),
            "details": "\n".join(_details(fate, event, frame.profile, utf8) for fate in fates),
            "envelopefrom": clean(accepted.sender, utf8=utf8),
            "hostname": clean(frame.hostname),
            "mid": str(accepted.mid),
            "receivedat": date(accepted.received_at),
            "recipients": "\n".join(addresses),
            "retryuntil": date(until) if until else "later",
            "subject": subject,
            "time": time.strftime("%H:%M:%S", now),
        }
    )
    return text.encode("utf-8")


def _shown(recipient: Recipient, utf8: bool) -> str:
    return clean(recipient.original or recipient.address, utf8=utf8)


def _details(fate: Fate, event: Event, profile: BounceProfile, utf8: bool) -> str:
    """Give a block of lines about one recipient."""
    status = status_of(fate, event, profile)
    said = clean(" ".join(str(fate.reply).split()), 700, utf8=utf8)
    who = f"{clean(fate.remote_host)} answered" if fate.remote_host else "The reason given is"
    explanation = _EXPLANATIONS.get(status, _GENERAL[event])
    advice = _ADVICE.get(status.split(".")[1], _DEFAULT_ADVICE)
    if status == "5.7.1" and not fate.remote_host:
        explanation, advice = _OWN_RULES, _OWN_ADVICE
    lines = [f"  {_shown(fate.recipient, utf8)}", f"    {explanation}", f"    {who}: {said}"]
    if event == "failed":
        lines.append(f"    What you can do: {advice}")
    return "\n".join([*lines, ""])


# The fields


def status_of(fate: Fate, event: Event, profile: BounceProfile) -> str:
    """Give the enhanced code, of the event's class whatever the last reply said.

    Where the profile does not read the peer's own code, a peer's refusal is just that.
    """
    own_class = _CLASS[event]
    if fate.remote_host and not profile.parse_status:
        return f"{own_class}.0.0"
    enhanced = fate.reply.enhanced or "5.0.0"
    return f"{own_class}{enhanced[1:]}"


def _status(fate: Fate, event: Event, profile: BounceProfile) -> RecipientStatus:
    recipient = fate.recipient
    return RecipientStatus(
        address=recipient.address,
        action=event,
        status=status_of(fate, event, profile),
        diagnostic=" ".join(str(fate.reply).split()) if fate.remote_host else "",
        remote_host=fate.remote_host,
        original=recipient.original,
        orcpt=recipient.orcpt,
        last_attempt_at=fate.last_attempt_at,
        retry_until_at=fate.retry_until_at,
    )
