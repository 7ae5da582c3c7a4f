"""The grammar of delivery status notifications (RFC 3464, 6533) and of xtext (RFC 3461 4).

`mail/bounce/` builds messages with it. Values come from peers and senders: whatever could start a new header or is
not printable is replaced, so that a field is always one line. With `utf8` the fields are those of
message/global-delivery-status, else ASCII only. Nothing here raises except `xtext_decode`.
"""

import contextlib
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
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_CLASS = {"failed": "5.0.0", "delayed": "4.0.0"}


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
    """Host name of the peer, or its address in brackets."""
    original: str = ""
    """The address before it was changed here; ORCPT comes first."""
    orcpt: str = ""
    """ORCPT as the client gave it: a type, `;` and xtext."""
    last_attempt_at: float = 0.0
    retry_until_at: float = 0.0


def clean(text: str, limit: int = VALUE_LIMIT, *, utf8: bool = False) -> str:
    """Give text as one printable line; what is not becomes `?`, line ends become spaces. `limit` is in octets."""
    line = " ".join(text.split("\r\n"))
    if not utf8 or line.isascii():
        return _UNPRINTABLE.sub("?", line[:limit])
    line = "".join(character if character.isprintable() else "?" for character in line[:limit])
    return line.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def date(at: float) -> str:
    """Give a moment as RFC 5322 writes it."""
    return format_datetime(datetime.fromtimestamp(at, UTC))


def address_value(address: str, *, utf8: bool = False) -> str:
    """Give an address with its type (RFC 3464 2.3.2).

    One that is not ASCII is of type `utf-8` (RFC 6533 3): as it is with `utf8`, else in ASCII with its embedded
    code points.
    """
    if address.isascii():
        return f"rfc822; {clean(address)}"
    if utf8:
        return f"utf-8; {clean(address, utf8=True)}"
    escaped = "".join(
        character if "!" <= character <= "~" and character not in "+=\\" else f"\\x{{{ord(character):X}}}"
        for character in address
    )
    return f"utf-8; {escaped[:VALUE_LIMIT]}"


def original_value(orcpt: str, *, utf8: bool = False) -> str:
    """Give the value of `Original-Recipient` for an ORCPT (RFC 3461 4.2, RFC 6533 3), '' if it is none."""
    kind, separator, text = orcpt.partition(";")
    if not separator:
        return ""
    try:
        plain = xtext_decode(text)
    except (ValueError, UnicodeError):
        plain = text
    if kind.strip().lower() != "utf-8":
        return f"{clean(kind.strip())}; {clean(plain, utf8=utf8)}" if utf8 or plain.isascii() else address_value(plain)
    return address_value(_EMBEDDED.sub(_code_point, plain), utf8=utf8)


def _code_point(found: re.Match[str]) -> str:
    number = int(found[1], 16)
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "?"


def message_fields(
    reporting_host: str,
    arrived_at: float,
    envelope_id: str = "",
    *,
    received_from: str = "",
    received_ip: str = "",
    utf8: bool = False,
) -> str:
    """Give the per-message fields (RFC 3464 2.2), each line ending in CRLF.

    `envelope_id` is ENVID as given, in xtext; `received_from` the name that the client greeted with.
    """
    fields = []
    if envelope_id:
        with contextlib.suppress(ValueError, UnicodeError):
            envelope_id = xtext_decode(envelope_id)
        fields.append(("Original-Envelope-Id", clean(envelope_id, utf8=utf8)))
    fields.append(("Reporting-MTA", f"dns; {clean(reporting_host)}"))
    if received_from:
        comment = f" ([{clean(received_ip)}])" if received_ip else ""
        fields.append(("Received-From-MTA", f"dns; {clean(received_from, 255, utf8=utf8)}{comment}"))
    if arrived_at:
        fields.append(("Arrival-Date", date(arrived_at)))
    return _lines(fields)


def recipient_fields(recipient: RecipientStatus, *, utf8: bool = False) -> str:
    """Give the per-recipient fields (RFC 3464 2.3), each line ending in CRLF."""
    fields = [
        ("Final-Recipient", address_value(recipient.address, utf8=utf8)),
        ("Action", clean(recipient.action)),
        ("Status", status_value(recipient)),
    ]
    original = original_value(recipient.orcpt, utf8=utf8)
    if not original and recipient.original:
        original = address_value(recipient.original, utf8=utf8)
    if original:
        fields.insert(0, ("Original-Recipient", original))
    if recipient.remote_host:
        fields.append(("Remote-MTA", f"dns; {clean(recipient.remote_host)}"))
    if recipient.diagnostic:
        fields.append(("Diagnostic-Code", f"smtp; {clean(recipient.diagnostic, utf8=utf8)}"))
    if recipient.last_attempt_at:
        fields.append(("Last-Attempt-Date", date(recipient.last_attempt_at)))
    if recipient.retry_until_at and recipient.action == "delayed":
        fields.append(("Will-Retry-Until", date(recipient.retry_until_at)))
    return _lines(fields)


def status_value(recipient: RecipientStatus) -> str:
    """Give the status with the class that the action demands (RFC 3464 2.3.3)."""
    if _STATUS.fullmatch(recipient.status):
        return recipient.status
    return _CLASS.get(recipient.action, "2.0.0")


def delivery_status(message: str, recipients: Sequence[RecipientStatus], *, utf8: bool = False) -> bytes:
    """Give the body of the delivery-status part: groups of fields with a blank line between them."""
    groups = [message, *(recipient_fields(recipient, utf8=utf8) for recipient in recipients)]
    return "\r\n".join(groups).encode("utf-8" if utf8 else "ascii")


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
