"""The grammar of delivery status notifications (RFC 3464) and of xtext (RFC 3461 4).

`mail/bounce.py` builds messages with it. Values come from peers and senders: whatever could start a new header or is
not printable ASCII is replaced, so that a field is always one line. Nothing here raises except `xtext_decode`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime

VALUE_LIMIT = 900
"""Octets of a field value; RFC 5322 2.1.1 allows 998 for the whole line."""

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_XTEXT_UNSAFE = re.compile(rb"[^!-*,-<>-~]")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")


@dataclass(frozen=True, slots=True)
class RecipientStatus:
    """What is reported of one recipient."""

    address: str
    action: str
    """`failed`, `delayed`, `delivered`, `relayed` or `expanded`."""
    status: str
    """Enhanced code; '' or a wrong one becomes x.0.0 of the action's class."""
    diagnostic: str = ""
    """The peer's reply with its codes, '' = there was none."""
    remote_host: str = ""
    original: str = ""
    """The address before it was changed here."""
    last_attempt_at: float = 0.0
    retry_until_at: float = 0.0


def clean(text: str, limit: int = VALUE_LIMIT) -> str:
    """Give text as one line of printable ASCII; what is not becomes `?`, line ends become spaces."""
    return _UNPRINTABLE.sub("?", " ".join(text.split("\r\n"))[:limit])


def date(at: float) -> str:
    """Give a moment as RFC 5322 writes it."""
    return format_datetime(datetime.fromtimestamp(at, UTC))


def address_value(address: str) -> str:
    """Give an address with its type (RFC 3464 2.3.2); one that is not ASCII as `utf-8` (RFC 6533 3)."""
    if address.isascii():
        return f"rfc822; {clean(address)}"
    escaped = "".join(
        character if "!" <= character <= "~" and character not in "+=\\" else f"\\x{{{ord(character):X}}}"
        for character in address
    )
    return f"utf-8; {escaped[:VALUE_LIMIT]}"


def message_fields(reporting_host: str, arrived_at: float, envelope_id: str = "") -> str:
    """Give the per-message fields (RFC 3464 2.2), each line ending in CRLF."""
    fields = [("Reporting-MTA", f"dns; {clean(reporting_host)}")]
    if envelope_id:
        fields.insert(0, ("Original-Envelope-Id", clean(envelope_id)))
    if arrived_at:
        fields.append(("Arrival-Date", date(arrived_at)))
    return _lines(fields)


def recipient_fields(recipient: RecipientStatus) -> str:
    """Give the per-recipient fields (RFC 3464 2.3), each line ending in CRLF."""
    fields = [
        ("Final-Recipient", address_value(recipient.address)),
        ("Action", clean(recipient.action)),
        ("Status", status_value(recipient)),
    ]
    if recipient.original:
        fields.insert(0, ("Original-Recipient", address_value(recipient.original)))
    if recipient.remote_host:
        fields.append(("Remote-MTA", f"dns; {clean(recipient.remote_host)}"))
    if recipient.diagnostic:
        fields.append(("Diagnostic-Code", f"smtp; {clean(recipient.diagnostic)}"))
    if recipient.last_attempt_at:
        fields.append(("Last-Attempt-Date", date(recipient.last_attempt_at)))
    if recipient.retry_until_at:
        fields.append(("Will-Retry-Until", date(recipient.retry_until_at)))
    return _lines(fields)


def status_value(recipient: RecipientStatus) -> str:
    """Give the status with the class that the action demands (RFC 3464 2.3.3)."""
    if _STATUS.fullmatch(recipient.status):
        return recipient.status
    return {"failed": "5.0.0", "delayed": "4.0.0"}.get(recipient.action, "2.0.0")


def delivery_status(message: str, recipients: Sequence[RecipientStatus]) -> bytes:
    """Give the body of the message/delivery-status part: groups of fields with a blank line between them."""
    groups = [message, *(recipient_fields(recipient) for recipient in recipients)]
    return "\r\n".join(groups).encode("ascii")


def xtext_encode(text: str) -> str:
    """Give text as xtext, for ENVID and ORCPT (RFC 3461 4)."""
    return _XTEXT_UNSAFE.sub(lambda found: b"+%02X" % found[0][0], text.encode("utf-8")).decode("ascii")


def xtext_decode(text: str) -> str:
    """Read xtext. Raises `ValueError` if it is none or hides a control character."""
    if not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    octets = _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), text).encode("latin-1")
    decoded = octets.decode("utf-8")
    if any(ord(character) < 32 or ord(character) == 127 for character in decoded):
        raise ValueError("xtext with a control character")
    return decoded


def _lines(fields: Sequence[tuple[str, str]]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in fields)
