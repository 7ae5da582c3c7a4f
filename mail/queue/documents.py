"""The documents of a row of the index, and whether they are what was written: a CRC over both, bound to the MID.

Used by whoever makes rows or reads them. What is damaged is never delivered: the loader logs it, `status` and
`showrecipients` name it, `removemessage` takes it away. Rows of older releases have no CRC; they are as good as they
can be read. Raises `RowDamaged`; logs nothing.
"""

from collections.abc import Mapping
from zlib import crc32

import msgspec

from core.record import Accepted, Outcome, Recipient, decode_accepted, decode_outcome
from mail.queue.store import UNCHECKED, MessageRow, RecipientRow

DAMAGED = "damaged"
_NAMED = 5


class RowDamaged(Exception):
    """The documents are not what was written."""


def crc_of(mid: int, accepted: bytes, outcome: bytes) -> int:
    """Give what a row's `documents_crc` has to be."""
    return crc32(outcome, crc32(accepted, mid & 0xFFFFFFFF))


def documents_of(row: MessageRow) -> tuple[Accepted, Outcome]:
    """Read a row. Raises `RowDamaged` with the reason."""
    if row.documents_crc not in (UNCHECKED, crc_of(row.mid, row.accepted, row.outcome)):
        raise RowDamaged("the checksum of its row is another")
    try:
        return decode_accepted(row.accepted), decode_outcome(row.outcome)
    except (msgspec.MsgspecError, TypeError) as error:
        raise RowDamaged(f"its row cannot be read: {error}") from None


def what_is_known(row: MessageRow, recipients: list[RecipientRow]) -> tuple[Accepted, Outcome]:
    """Stand in for the documents of a damaged row: MID, sender, size and the numbers of recipients."""
    unknown = [Recipient(one.rid, "") for one in recipients]
    return Accepted(row.mid, 0, 0.0, row.sender, unknown, row.length), Outcome(row.mid, "deliver")


def received_at(document: bytes | None) -> float | None:
    """Give when a message was accepted, None without a document or if it cannot be read."""
    try:
        return decode_accepted(document).received_at if document else None
    except msgspec.MsgspecError:
        return None


def trouble_of(damaged: Mapping[int, str]) -> str:
    """Say what `status` says of damaged rows, '' if there are none."""
    if not damaged:
        return ""
    named = ", ".join(map(str, sorted(damaged)[:_NAMED]))
    more = f" and {len(damaged) - _NAMED} more" if len(damaged) > _NAMED else ""
    return f"MID {named}{more} in the queue's index: damaged and not delivered; take away with removemessage"
